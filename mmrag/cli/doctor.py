"""`doctor`: what works on this machine, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from typing import Any

import click

from mmrag import config
from mmrag.cli.options import json_option, print_json
from mmrag.errors import MmragError


@click.command()
@click.option("--uri", metavar="U", help="Milvus to try. Default: MMRAG_URI, else the local store.")
@json_option
def doctor(uri: str | None, as_json: bool) -> None:
    """Say what works here: devices, precisions, encoders, Milvus, API key present or not.

    \b
    Example:
      python -m mmrag doctor
    """
    report = examine(uri)
    if as_json:
        print_json(report)
        return
    for name, value in report.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' '):12} {shown}")


def examine(uri: str | None = None) -> dict[str, Any]:
    """The facts that `doctor` shows; secrets only as present or absent."""
    import torch

    from mmrag.encoders import default_encoder_name, list_encoders
    from mmrag.encoders.device import multiplies_bf16
    from mmrag.index.store import MilvusStore

    names = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    devices = [
        f"{name} ({'bf16' if multiplies_bf16(torch.device(name)) else 'fp32'})" for name in names
    ]
    try:
        store = MilvusStore(uri)
        try:
            version = store.call("Milvus", lambda client: client.get_server_version())
        finally:
            store.close()
        milvus = f"{version} at {store.uri}"
    except MmragError as error:
        milvus = f"does not answer: {error}"
    available = [e.name for e in list_encoders() if e.available]
    existing = next(folder for folder in (config.home(), *config.home().parents) if folder.exists())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": devices,
        "encoders": available or ["none here; `python -m mmrag download visualized-bge-base`"],
        "default": default_encoder_name(),
        "milvus": milvus,
        "openai_key": "present" if os.environ.get("OPENAI_API_KEY") else "absent",
        "home": str(config.home()),
        "disk_free": f"{shutil.disk_usage(existing).free / 1e9:.0f} GB",
    }
