"""The hub's own client, which other libraries use: limit its requests and its log lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def asked_once() -> Iterator[None]:
    """Ask a hub that cannot be reached only once within the block, not six times for each file.

    After the first failure the client continues with local files, as with `HF_HUB_OFFLINE`. Its
    log lines about it become one sentence.
    """
    first = _FirstFailure()
    client = logging.getLogger("huggingface_hub.utils._http")
    level = client.level
    client.addFilter(first)
    # The filter sees nothing from a disabled logger.
    client.setLevel(logging.WARNING)
    try:
        yield
    finally:
        client.removeFilter(first)
        client.setLevel(level)
        first.undo()


class _FirstFailure(logging.Filter):
    """Drops the client's log lines, and stops its requests at the first line on a failure."""

    def __init__(self) -> None:
        super().__init__()
        self.was_offline: bool | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        reason, thrown, _ = record.getMessage().partition(" thrown while requesting ")
        if thrown and reason.startswith("'") and self.was_offline is None:
            from huggingface_hub import constants

            self.was_offline = constants.HF_HUB_OFFLINE
            constants.HF_HUB_OFFLINE = True
            logging.getLogger("mmrag").warning(
                "The model hub cannot be reached (%s); going on with what is here. With "
                "HF_HUB_OFFLINE=1 it is not asked.",
                reason.strip("'"),
            )
        return False

    def undo(self) -> None:
        """Let the client ask again."""
        if self.was_offline is not None:
            from huggingface_hub import constants

            constants.HF_HUB_OFFLINE = self.was_offline
