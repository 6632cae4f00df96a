"""The state from which an interrupted training resumes."""

from __future__ import annotations

from pathlib import Path

import torch

from mmrag.errors import CheckpointError, MmragError
from mmrag.system.durable import replacing

STATE_FILE = "checkpoint.pt"


class TrainingState:
    """Weights, optimiser and losses, in `OUT/checkpoint.pt` until the training is finished.

    Args:
        out: the training's folder.
        key: identifies the training; only the same one resumes from here.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.path = out / STATE_FILE
        self._key = key

    def exists(self) -> bool:
        """Whether there is a state to resume from."""
        return self.path.is_file()

    def load(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[list[float], dict[str, dict[str, float]]]:
        """Load the state into model and optimiser; return losses and metrics before training."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            key = state["key"]
        # A damaged file can fail in many ways.
        except Exception as error:
            raise CheckpointError(f"{self.path} is damaged; remove it to start anew.") from error
        if key != self._key:
            raise MmragError(
                f"{self.path.parent} holds an unfinished training with other settings; "
                "finish it with those, or remove the folder."
            )
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            return list(state["losses"]), state["before"]
        except Exception as error:
            raise CheckpointError(f"{self.path} is damaged; remove it to start anew.") from error

    def save(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        losses: list[float],
        before: dict[str, dict[str, float]],
    ) -> None:
        """Write the state; a killed write leaves the previous one."""
        held = {
            "key": self._key,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "losses": losses,
            "before": before,
        }
        try:
            with replacing(self.path) as part:
                torch.save(held, part)
        # torch's own writer hides the system's reason.
        except RuntimeError as error:
            raise MmragError(
                f"{self.path} cannot be written, most likely for want of space; make room and run "
                "this again. The state that was saved before is kept."
            ) from error

    def remove(self) -> None:
        """Remove the state: the training is finished."""
        self.path.unlink(missing_ok=True)
