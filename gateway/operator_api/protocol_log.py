"""aiohttp's log of requests that are no HTTP, without their bytes.

Its message for a malformed header is that header, and the header may be `Authorization` with a token in it.
"""

from __future__ import annotations

import logging
from typing import Final


def _without_bytes(record: logging.LogRecord) -> bool:
    """Keep the kind of the error; drop its text and its traceback, which repeats the text."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg, record.args = "malformed request: %s", (record.exc_info[0].__name__,)
        record.exc_info = None
    return True


PROTOCOL_LOG: Final = logging.getLogger(__name__)
PROTOCOL_LOG.addFilter(_without_bytes)
