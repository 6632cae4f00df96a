"""Progress on standard error: a bar on a terminal, and a line now and then in a log."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import Any

from tqdm import tqdm

SECONDS, SHARE = 10.0, 0.1


class Lines:
    """Progress in lines, with the interface of `tqdm`, for CI logs, `nohup` and files.

    A line is written ten seconds or ten per cent after the last one, and at the end; also at the
    beginning, if description and total are known.
    """

    def __init__(
        self,
        total: float | None = None,
        initial: float = 0,
        desc: str = "",
        unit: str = "it",
        unit_scale: bool = False,
        disable: bool = False,
        **_: Any,
    ) -> None:
        self.total, self.n, self.initial = total, initial, initial
        self.desc, self.unit, self.unit_scale, self.postfix = desc, unit, unit_scale, ""
        self._started = self._said_at = monotonic()
        self._said_n: float = initial
        self.disable = disable
        if desc and total:
            self._say()

    def update(self, n: float = 1) -> None:
        """Count `n` more as done."""
        self.n += n
        if self._is_due():
            self._say()

    def refresh(self) -> None:
        """Take up a new value of `n`."""
        self.update(0)

    def set_description_str(self, desc: str) -> None:
        """Set the name of the work."""
        self.desc = desc

    def set_postfix_str(self, text: str) -> None:
        """Set the text after the counts."""
        self.postfix = text

    def close(self) -> None:
        """Write how far it came, unless the last line did."""
        if self.n != self._said_n:
            self._say()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _is_due(self) -> bool:
        if self.n == self._said_n:
            return False
        share = (self.n - self._said_n) / self.total if self.total else 0.0
        done = self.total is not None and self.n >= self.total
        return done or share >= SHARE or monotonic() - self._said_at >= SECONDS

    def _say(self) -> None:
        self._said_at, self._said_n = monotonic(), self.n
        if self.disable:
            return
        line = tqdm.format_meter(
            self.n,
            self.total,  # type: ignore[arg-type]
            self._said_at - self._started,
            prefix=self.desc,
            unit=self.unit,
            unit_scale=self.unit_scale,
            initial=self.initial,
            postfix=self.postfix,
            ncols=0,
        )
        print(line, file=sys.stderr, flush=True)


def progress_bar(**options: Any) -> Any:
    """A `tqdm` bar with these options, or `Lines` if standard error is not a terminal."""
    return tqdm(file=sys.stderr, **options) if sys.stderr.isatty() else Lines(**options)
