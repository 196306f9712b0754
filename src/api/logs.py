"""Logging: one line per event, JSON in production; nothing that prints what people say or where they are reached."""

import logging
import re
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import structlog

# These libraries print job arguments, addresses, statements or whole requests at levels an operator may switch on.
_TALKATIVE = {
    "saq": logging.CRITICAL,
    "twilio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "aiohttp": logging.WARNING,
    "aiosmtplib": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.INFO,
    "websockets": logging.INFO,
}
# Whatever could begin a line of its own or speak to a terminal; what is read in the log is what was said.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def configure_logging(level: str, *, as_json: bool) -> None:
    """Set logging up for this process; `level` is debug, info, warning or error.

    What libraries, the interpreter and uncaught exceptions say has the form of our own lines.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    begin: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*begin, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_ending(as_json=as_json)],
        )
    )
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for name, at_least in _TALKATIVE.items():
        logging.getLogger(name).setLevel(max(threshold, at_least))
    logging.getLogger("uvicorn.error").addFilter(_names_no_address)
    structlog.configure(
        processors=[*begin, *_ending(as_json=as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger(__name__).critical("process_failed", exc_info=(kind, error, trace))


def _uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    error = failed.exc_value or failed.exc_type()
    structlog.get_logger(__name__).critical("thread_failed", exc_info=(failed.exc_type, error, failed.exc_traceback))


def on_one_line(text: str) -> str:
    """Write out what would end a line, colour a terminal or turn words around, as `\\n` and `\\x1b`."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _names_no_address(record: logging.LogRecord) -> bool:
    # Each socket is told of with the address it asked for, in which some clients send their token.
    return "WebSocket" not in str(record.msg)


def _ending(*, as_json: bool) -> list[structlog.typing.Processor]:
    # No local variables in tracebacks, in neither form: they hold addresses, texts and keys.
    if as_json:
        bare = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(bare), structlog.processors.JSONRenderer()]
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    return [_flatten, plain]


def _flatten(_: Any, __: str, event: Any) -> Mapping[str, Any]:
    """Keep every value on its line; JSON does so by itself."""
    return {key: on_one_line(value) if isinstance(value, str) else value for key, value in event.items()}
