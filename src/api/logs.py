"""Logging: one line per event, JSON in production; nothing that prints what people say or where they are reached."""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog

# These libraries print job arguments, addresses, statements or whole requests at levels somebody may switch on.
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
    """Set logging up for this process; `level` is debug, info, warning or error."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _PlainLines("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    for name, at_least in _TALKATIVE.items():
        logging.getLogger(name).setLevel(max(threshold, at_least))
    logging.getLogger("uvicorn.error").addFilter(_names_no_address)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_ending(as_json=as_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


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


class _PlainLines(logging.Formatter):
    """What libraries say, for people."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # the name is the library's
        """Write the line that stands before a traceback, if one follows."""
        return on_one_line(super().formatMessage(record))


class _JsonLines(logging.Formatter):
    """What libraries say, in the form of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a line."""
        line = {"event": record.getMessage(), "logger": record.name, "level": record.levelname.lower()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
