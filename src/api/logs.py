"""Logging: one line per event, JSON in production; nothing that prints what people say or where they are reached."""

import logging
import sys

import structlog

# These libraries print job arguments, addresses or whole requests at levels somebody may switch on.
_TALKATIVE = {
    "saq": logging.CRITICAL,
    "twilio": logging.WARNING,
    "httpx": logging.WARNING,
    "aiosmtplib": logging.WARNING,
}


def configure_logging(level: str, *, as_json: bool) -> None:
    """Set logging up for this process; `level` is debug, info, warning or error."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=threshold, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr, force=True)
    for name, at_least in _TALKATIVE.items():
        logging.getLogger(name).setLevel(max(threshold, at_least))
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


def _ending(*, as_json: bool) -> list[structlog.typing.Processor]:
    # No local variables in tracebacks, in neither form: they hold addresses, texts and keys.
    if as_json:
        bare = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(bare), structlog.processors.JSONRenderer()]
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    return [plain]
