"""The path of batches on a GPU: the plain one, unless a result from such a GPU says otherwise.

`python -m bench.gpu` compares the paths and writes the winners, as `choices`, into its result file;
see docs/gpu.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.system import shipped
from mmrag.system.text_files import read_text

# The share of free memory that batches may fill.
_SHARE = 0.8
_MOST = 1 << 16


@dataclass(frozen=True)
class GpuPath:
    """How a GPU computes batches.

    Args:
        overlap: copies on a stream of their own; see `streams`.
        compile: whole batches of images go through `torch.compile`.
        graphs: whole batches and single queries are CUDA graphs; see `graphs`.
        batch_size: inputs per forward pass, if they fit.
        mb_per_image: memory that each takes, if measured.
        why: a sentence for people.
    """

    overlap: bool = False
    compile: bool = False
    graphs: bool = False
    batch_size: int = 256
    mb_per_image: float = 0.0
    why: str = ""

    @property
    def name(self) -> str:
        """ "plain", or the additions to that."""
        words = {
            "overlap": "copies beside computing",
            "compile": "torch.compile",
            "graphs": "CUDA graphs",
        }
        return ", ".join(word for key, word in words.items() if getattr(self, key)) or "plain"

    def fitting(self, free_bytes: float) -> int:
        """Inputs per forward pass: `batch_size`, or the half, quarter ... of it that fits."""
        size = self.batch_size
        while size > 1 and size * self.mb_per_image * 2**20 > _SHARE * free_bytes:
            size //= 2
        return size


def path_for(gpu: str) -> GpuPath:
    """The path for a GPU, by the newest result from its kind.

    Args:
        gpu: its name, as torch gives it.
    """
    if config.gpu_path() == "plain":
        return GpuPath(why="MMRAG_GPU_PATH says so")
    found = list(_results(gpu))
    if not found:
        return GpuPath(why=f"no result of {gpu} is kept here; `python -m bench.gpu` writes one")
    _, path, choices = max(found, key=lambda one: one[:2])
    kinds = {one.name: type(one.default) for one in fields(GpuPath)}
    known = {key: value for key, value in choices.items() if key in kinds}
    chosen = GpuPath(**known)
    if (
        not all(type(value) is kinds[key] for key, value in known.items())
        or not 1 <= chosen.batch_size <= _MOST
        or chosen.mb_per_image < 0
    ):
        return GpuPath(why=f"the choices in {path.name} cannot be read")
    return replace(chosen, why=f"{chosen.why or 'measured'} ({path.name})")


def _results(gpu: str) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Date, file and contents of each result with choices for such a GPU."""
    for folder in dict.fromkeys([shipped.ROOT / "bench" / "results", config.home() / "bench"]):
        for path in sorted(folder.glob("*.json")):
            try:
                document = json.loads(read_text(path))
                machine, choices = document["machine_info"], document.get("choices")
                if isinstance(choices, dict) and gpu in machine["gpus"] and not machine["quick"]:
                    yield str(document["datetime"]), path, choices
            # The Speed page names unreadable ones.
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
