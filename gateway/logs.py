"""Every log line that is not about one S3 request: structlog's, and what libraries say through `logging`."""

from __future__ import annotations

import logging
import time
from typing import Any

import orjson
import structlog

from gateway.logsink import LineSink

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_MAX_TEXT = 500


def configure_logging(sink: LineSink, level: str) -> None:
    """Send every structlog line to `sink` as JSON, and every warning of a library."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(file=sink),  # type: ignore[arg-type]  # write and flush are all it uses
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def _dumps(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)


class _Forward(logging.Handler):
    """Passes a library's record on, at most one a second for each place that logs (R20: asyncio without descriptors).

    Only the template of the message is told, and of an exception only the kind: what is filled in, and the text of an
    exception, may be what a client sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.name, record.pathname, record.lineno)
        now = time.monotonic()
        if now - self._last.get(place, -1.0) < 1.0:
            return
        self._last[place] = now
        error = record.exc_info[0] if record.exc_info else None
        structlog.get_logger().log(
            max(record.levelno, logging.WARNING),
            "library",
            logger=record.name,
            message=str(record.msg)[:_MAX_TEXT],
            error=None if error is None else error.__name__,
        )
