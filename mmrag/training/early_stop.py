"""The best weights of a training so far, by held-out queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmrag.errors import CheckpointError
from mmrag.system.durable import replacing


class BestSoFar:
    """The best weights so far, in `OUT/best.pt` until the training is finished.

    Args:
        patience: stop after this many checks without improvement; None never checks.
        out: the training's folder.
    """

    def __init__(self, patience: int | None, out: Path) -> None:
        self.patience = patience
        self.checks: dict[int, float] = {}
        self._file = out / "best.pt"

    def load(self) -> None:
        """Resume from an interrupted training.

        Raises:
            CheckpointError: the file is damaged.
        """
        if self.patience is not None and self._file.is_file():
            self.checks = dict(self._read()["checks"])

    def check(self, step: int, score: float, model: torch.nn.Module) -> None:
        """Note a score, and keep the weights if it is the best so far."""
        is_best = score > max(self.checks.values(), default=-1.0)
        # Steps repeated after an interruption are checked again.
        self.checks[step] = score
        if is_best:
            with replacing(self._file) as scratch:
                torch.save({"model": model.state_dict(), "checks": self.checks}, scratch)

    def is_over(self) -> bool:
        """Whether enough checks have passed without improvement."""
        scores = [self.checks[step] for step in sorted(self.checks)]
        assert self.patience is not None
        return len(scores) - 1 - scores.index(max(scores)) >= self.patience

    def restore(self, model: torch.nn.Module) -> None:
        """Give the model its best weights."""
        if self.checks:
            model.load_state_dict(self._read()["model"])

    def remove(self) -> None:
        """Remove the file: the training is finished."""
        self._file.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
            return state
        # A damaged file can fail in many ways.
        except Exception as error:
            raise CheckpointError(f"{self._file} is damaged; remove its folder.") from error
