"""The machine in a benchmark result: enough to compare, but nothing to identify it."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ["torch", "torchvision", "timm", "transformers", "open_clip_torch", "numpy", "pillow"]
_LIBRARIES += ["pymilvus", "milvus-lite"]


def describe_machine() -> dict[str, Any]:
    """CPU and GPU models, cores, memory, system and library versions; no host name, no paths."""
    import torch

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def _memory_gb() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return round(psutil.virtual_memory().total / 2**30)


def _version(name: str) -> str:
    """Version of a library, "" if it is not installed: a lent machine may have few."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def cpu_model() -> str:
    """The processor's name as the system gives it.

    A virtual machine may give only "AMD EPYC": family and model then tell processors apart.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    said = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*\S)$", text, re.MULTILINE))
    name = said.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in said and not re.search(r"\d", name):
        name += f" family {said['cpu family']} model {said.get('model', 'unknown')}"
    return name
