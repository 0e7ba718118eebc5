"""gunicorn's log in the format of the service's log, without the parts of requests that gunicorn repeats."""

import logging
import re
import sys
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from datafor_token.validation import logs

# The rest of these messages is a request line, a header, a URL or the text of an exception.
_UNSAFE_MESSAGE = re.compile(
    r"Invalid request(?= from ip=(?P<address>\S*?)(?:: |$))|Error handling request|Exception during worker exit"
)


class ServerLogger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger with our formatter and filter."""

    def setup(self, cfg: Any) -> None:
        """Set up gunicorn's log, and add our formatter and filter to every handler."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr and sys.__stderr__:
                # Not through ``logs.capture_output``, which would log each line again.
                handler.setStream(sys.__stderr__)
            handler.setFormatter(logs.FORMATTER)
            handler.addFilter(without_request)


def without_request(record: logging.LogRecord) -> bool:
    """Replace a message that repeats a request by an event with the client's address and the type of the error."""
    found = _UNSAFE_MESSAGE.match(record.getMessage())
    if found:
        # gunicorn logs a refused request while it handles the exception.
        error = sys.exception() if found["address"] is not None else None
        reason = None if error is None else type(error).__name__
        record.msg, record.args = logs.event(found[0], address=found["address"], reason=reason), ()
    return True
