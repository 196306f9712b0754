"""A process whose clock is wrong: words to run before anything else is imported."""

_PRELUDE = """
import datetime, time
_ahead = {ahead!r}
_time, _time_ns, _Datetime = time.time, time.time_ns, datetime.datetime
time.time = lambda: _time() + _ahead
time.time_ns = lambda: _time_ns() + int(_ahead * 1e9)

class _Like(type(_Datetime)):
    # What C code makes is the real class: it must still pass for ours.
    def __instancecheck__(cls, instance):
        return isinstance(instance, _Datetime)

class _Skewed(_Datetime, metaclass=_Like):
    @classmethod
    def now(cls, tz=None):
        return _Datetime.now(tz) + datetime.timedelta(seconds=_ahead)

    @classmethod
    def utcnow(cls):
        return _Datetime.utcnow() + datetime.timedelta(seconds=_ahead)

datetime.datetime = _Skewed
"""


def prelude(ahead: float) -> str:
    """Python code after which a process lives so many seconds in the future; nothing for a right clock."""
    return _PRELUDE.format(ahead=ahead) if ahead else ""
