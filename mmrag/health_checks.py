"""What `examine` found, as checks that a person can act on."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any, Literal

from mmrag.encoders import list_encoders

LOW_DISK_GB = 5
_PACKAGES = ("mmrag", "torch", "timm", "open_clip_torch", "pymilvus", "milvus_lite", "streamlit")


@dataclass(frozen=True)
class Check:
    """One line of health: `state` says whether it works, `advice` what to do when it does not.

    "absent" is something that is not here and need not be.
    """

    topic: str
    name: str
    state: Literal["fine", "warning", "absent"]
    found: str
    advice: str = ""
    command: str = ""


def checks(report: dict[str, Any]) -> list[Check]:
    """The checks behind a report of `mmrag.health.examine`."""
    return [
        *_devices(report["devices"]),
        *_encoders(report["default"]),
        _milvus(report["milvus"]),
        _key(report["openai_key"]),
        _disk(report["home"], report["disk_free"]),
    ]


def versions() -> dict[str, str]:
    """Installed versions of what matters when something does not work."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package.replace("_", "-")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _devices(devices: list[str]) -> list[Check]:
    gpu = any(not device.startswith("cpu") for device in devices)
    advice = "" if gpu else "No GPU: everything works, only slower. The Speed page measures it."
    return [Check("Devices", "Computing", "fine", ", ".join(devices), advice)]


def _encoders(default: str) -> list[Check]:
    found = []
    for encoder in list_encoders():
        is_default = encoder.name == default
        words = f"{encoder.dim} dimensions, {encoder.licence}"
        if encoder.available:
            words += ", the default" if is_default else ""
            found.append(Check("Encoders", encoder.name, "fine", words))
        else:
            state: Literal["warning", "absent"] = "warning" if is_default else "absent"
            command, _, size = encoder.how_to_get.partition("  ")
            missing = f"weights not here yet {size}".strip()
            advice = "The default encoder." if is_default else "Only if you want it."
            found.append(
                Check("Encoders", encoder.name, state, f"{words}; {missing}", advice, command)
            )
    return found


def _milvus(found: str) -> Check:
    if not found.startswith("does not answer"):
        return Check("Store", "Milvus", "fine", found)
    advice = "Nothing can be indexed or searched. Start it, or name another one with MMRAG_URI."
    return Check("Store", "Milvus", "warning", found, advice)


def _key(found: str) -> Check:
    if found == "present":
        return Check("Model server", "OPENAI_API_KEY", "fine", "present")
    advice = (
        "Only reranking and answering with GPT-4o need one: put OPENAI_API_KEY into the "
        "environment or into .env, and start the dashboard again."
    )
    return Check("Model server", "OPENAI_API_KEY", "absent", "not set", advice)


def _disk(home: str, free: str) -> Check:
    low = float(free.split()[0]) < LOW_DISK_GB
    advice = "Indexing needs room: free some, or move MMRAG_HOME." if low else ""
    return Check(
        "Disk", "State folder", "warning" if low else "fine", f"{home}, {free} free", advice
    )
