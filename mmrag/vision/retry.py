"""Rules for retrying failed requests, and after how long."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai

_FIRST, _LONGEST = 0.5, 8.0
# A server that asks for a longer pause is not waited for.
_LONGEST_ASKED_FOR = 120.0
_PASSING = {408, 409, 429}


def seconds_to_wait(error: openai.OpenAIError, attempt: int) -> float | None:
    """Seconds to wait before the same request is sent again; None if that is pointless.

    Lost connections, 408, 409, 429 and 5xx are temporary. Timeouts are not retried: the time that a
    request may take is up.

    Args:
        error: the request's error.
        attempt: attempts so far, at least 1.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        return wait_after(error.status_code, error.response.headers, attempt)
    lost = isinstance(error, openai.APIConnectionError)
    if not lost or isinstance(error, openai.APITimeoutError):
        return None
    return wait_after(None, {}, attempt)


def wait_after(status: int | None, headers: Mapping[str, str], attempt: int) -> float | None:
    """`seconds_to_wait` by an answer's status and headers; status None is a lost connection."""
    if status is not None:
        wanted = _asked_for(headers.get("retry-after"))
        told = headers.get("x-should-retry")
        passing = status in _PASSING or status >= 500
        if told == "false" or not (passing or told == "true"):
            return None
        if wanted is not None:
            return wanted if wanted <= _LONGEST_ASKED_FOR else None
    return float(min(_LONGEST, _FIRST * 2 ** min(attempt - 1, 10)) * (1 - 0.25 * random.random()))


def _asked_for(header: str | None) -> float | None:
    """The seconds of a `Retry-After`, which is a number or a date."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
