"""What works on this machine, and what is missing: for `doctor` and the dashboard."""

from __future__ import annotations

import os
import platform
import shutil
from typing import Any

from mmrag import config
from mmrag.errors import MmragError


def examine(uri: str | None = None) -> dict[str, Any]:
    """Devices, encoders, Milvus, state folder; secrets only as present or absent.

    Args:
        uri: Milvus to try. Default: `MMRAG_URI`, else the local store.
    """
    import torch

    from mmrag.encoders import default_encoder_name, list_encoders
    from mmrag.encoders.device import multiplies_bf16

    names = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    devices = [
        f"{name} ({'bf16' if multiplies_bf16(torch.device(name)) else 'fp32'})" for name in names
    ]
    available = [e.name for e in list_encoders() if e.available]
    existing = next(folder for folder in (config.home(), *config.home().parents) if folder.exists())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": devices,
        "encoders": available or ["none here; `python -m mmrag download visualized-bge-base`"],
        "default": default_encoder_name(),
        "milvus": _milvus(uri),
        "openai_key": "present" if os.environ.get("OPENAI_API_KEY") else "absent",
        "home": str(config.home()),
        "disk_free": f"{shutil.disk_usage(existing).free / 1e9:.0f} GB",
    }


def _milvus(uri: str | None) -> str:
    from mmrag.index.store import MilvusStore

    try:
        store = MilvusStore(uri)
        try:
            version = store.call("Milvus", lambda client: client.get_server_version())
        finally:
            store.close()
    except MmragError as error:
        return f"does not answer: {error}"
    return f"{version} at {store.uri}"
