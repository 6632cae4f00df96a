"""Checks of this machine for `doctor` and the Health page."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system import entry_points
from mmrag.version import __version__

if TYPE_CHECKING:
    from mmrag.encoders import EncoderDescription
    from mmrag.encoders.known import Known

LOW_DISK_GB = 5
_PACKAGES = ("torch", "timm", "open_clip_torch", "pymilvus", "milvus_lite", "streamlit")


@dataclass(frozen=True)
class Check:
    """One line of health: `state` says whether it works, `advice` what to do if it does not.

    "absent" means not here and not required.
    """

    topic: str
    name: str
    state: Literal["fine", "warning", "absent"]
    found: str
    advice: str = ""
    command: str = ""


@dataclass(frozen=True)
class Device:
    """A device by torch's name, and the precision that `auto` takes on it.

    For an NVIDIA GPU, also the path that batches take, and why.
    """

    name: str
    precision: str
    path: str = ""
    why: str = ""


@dataclass(frozen=True)
class Milvus:
    """The store: its version and address, or why it does not answer."""

    version: str = ""
    uri: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Report:
    """Devices, encoders, Milvus, vision model's server, state folder; no secrets."""

    python: str
    torch: str
    devices: tuple[Device, ...]
    encoders: tuple[EncoderDescription, ...]
    default_encoder: str
    milvus: Milvus
    model_server: str
    model_server_problem: str
    home: str
    free_gb: float
    plugin_problems: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    vision_model: str = ""
    model_notices: tuple[str, ...] = ()
    known_vectors: tuple[Known, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as `doctor --json` prints it."""
        available = [encoder.name for encoder in self.encoders if encoder.available]
        milvus = self.milvus
        return {
            "mmrag": __version__,
            "python": self.python,
            "torch": self.torch,
            "devices": [f"{device.name} ({device.precision})" for device in self.devices],
            "gpu_paths": [
                f"{one.name}: {one.path} ({one.why})" for one in self.devices if one.path
            ],
            "encoders": available or ["none here; `mmrag download visualized-bge-base`"],
            "default": self.default_encoder,
            "milvus": f"does not answer: {milvus.problem}"
            if milvus.problem
            else f"{milvus.version} at {milvus.uri}",
            "damaged": list(self.damaged),
            "openai_key": "absent" if self.model_server_problem else "present",
            "vision_model": self.vision_model or "none known",
            "model_notices": list(self.model_notices),
            "plugins": list(self.plugin_problems),
            "home": self.home,
            "known_vectors": [asdict(one) for one in self.known_vectors],
            "disk_free": f"{self.free_gb:.0f} GB",
        }

    def checks(self) -> list[Check]:
        """Every check, each with its meaning in a sentence."""
        return [
            self._devices(),
            *(
                Check("Devices", f"Path on {one.name}", "fine", one.path, f"{one.why}.")
                for one in self.devices
                if one.path
            ),
            *self._encoders(),
            *map(_known_vector, self.known_vectors),
            *(
                Check("Plug-ins", "Not imported", "warning", problem)
                for problem in self.plugin_problems
            ),
            self._milvus(),
            *(
                Check("Store", "Damaged", "warning", problem, "", "mmrag doctor --repair")
                for problem in self.damaged
            ),
            self._model_server(),
            *self._vision_models(),
            self._disk(),
        ]

    def _devices(self) -> Check:
        gpu = any(device.name != "cpu" for device in self.devices)
        advice = "" if gpu else "No GPU: everything works, only slower. The Speed page measures it."
        shown = ", ".join(f"{device.name} ({device.precision})" for device in self.devices)
        return Check("Devices", "Computing", "fine", shown, advice)

    def _encoders(self) -> list[Check]:
        found = []
        for encoder in self.encoders:
            is_default = encoder.name == self.default_encoder
            words = f"{encoder.dim} dimensions, {encoder.licence}"
            if encoder.available:
                words += ", the default" if is_default else ""
                found.append(Check("Encoders", encoder.name, "fine", words))
                continue
            state: Literal["warning", "absent"] = "warning" if is_default else "absent"
            command, _, size = encoder.how_to_get.partition("  ")
            missing = f"weights not here yet {size}".strip()
            advice = "The default encoder." if is_default else "Only if you want it."
            found.append(
                Check("Encoders", encoder.name, state, f"{words}; {missing}", advice, command)
            )
        return found

    def _milvus(self) -> Check:
        milvus = self.milvus
        if not milvus.problem:
            return Check("Store", "Milvus", "fine", f"{milvus.version} at {milvus.uri}")
        advice = "Nothing can be indexed or searched. Start it, or name another one with MMRAG_URI."
        found = f"does not answer: {milvus.problem}"
        return Check("Store", "Milvus", "warning", found, advice)

    def _model_server(self) -> Check:
        topic, name = "Model server", "OPENAI_API_KEY"
        if not self.model_server_problem:
            return Check(topic, name, "fine", f"present, for {self.model_server}")
        advice = (
            "Only reranking and answering with a vision model need one: put OPENAI_API_KEY into "
            f"the environment or into .env, and start again. {self.model_server_problem}"
        )
        return Check(topic, name, "absent", "not set", advice)

    def _vision_models(self) -> list[Check]:
        if self.model_server_problem:
            return []
        found = self.vision_model or "none that is known; name one as openai:MODEL"
        leaving = any(one.startswith(f"{self.vision_model} ") for one in self.model_notices)
        state: Literal["fine", "warning"] = "warning" if leaving else "fine"
        advice = " ".join(self.model_notices)
        return [Check("Model server", "Vision model", state, found, advice)]

    def _disk(self) -> Check:
        low = self.free_gb < LOW_DISK_GB
        advice = "Indexing needs room: free some, or move MMRAG_HOME." if low else ""
        found = f"{self.home}, {self.free_gb:.0f} GB free"
        return Check("Disk", "State folder", "warning" if low else "fine", found, advice)


def examine(uri: str | None = None) -> Report:
    """Look at this machine.

    Args:
        uri: Milvus to try. Default: `MMRAG_URI`, else the local store.
    """
    import torch

    from mmrag.encoders import default_encoder_name, list_encoders
    from mmrag.encoders.known import known_vectors
    from mmrag.vision.endpoint import endpoint_or_problem

    names = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    home = config.home()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    server, problem = endpoint_or_problem()
    vision_model, notices = ("", ()) if problem else _vision_models()
    return Report(
        python=platform.python_version(),
        torch=torch.__version__,
        devices=tuple(_device(name) for name in names),
        encoders=tuple(list_encoders()),
        default_encoder=default_encoder_name(),
        milvus=_milvus(uri),
        model_server=server,
        model_server_problem=problem,
        home=str(home),
        free_gb=shutil.disk_usage(existing).free / 1e9,
        damaged=_damaged(uri or config.default_uri()),
        plugin_problems=tuple(entry_points.problems("mmrag.encoders", "mmrag.rerankers")),
        vision_model=vision_model,
        model_notices=notices,
        known_vectors=tuple(known_vectors()),
    )


def _known_vector(known: Known) -> Check:
    from mmrag.encoders.known import LEAST_COSINE

    same = known.cosine is not None and known.cosine >= LEAST_COSINE
    return Check(
        "Encoders",
        f"Known vector of {known.name}",
        "fine" if same else "warning",
        f"cosine {known.cosine:.4f} with that of {known.made}" if known.cosine else "not compared",
        "" if same else f"The libraries compute otherwise than {known.versions} did.",
    )


def _device(name: str) -> Device:
    import torch

    from mmrag.encoders.device import multiplies_bf16
    from mmrag.encoders.gpu_path import path_for

    precision = "bf16" if multiplies_bf16(torch.device(name)) else "fp32"
    if not name.startswith("cuda"):
        return Device(name, precision)
    path = path_for(torch.cuda.get_device_name(name))
    return Device(name, precision, path.name, path.why)


def versions() -> dict[str, str]:
    """Versions of what matters when something fails."""
    found = {"mmrag": __version__}
    for package in _PACKAGES:
        try:
            found[package.replace("_", "-")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _damaged(uri: str) -> tuple[str, ...]:
    from mmrag.index.lite_repair import look_through

    found = look_through(Path(uri)) if "://" not in uri else []
    return tuple(f"{one.what}: {one.problem}" for one in found)


def _vision_models() -> tuple[str, tuple[str, ...]]:
    """The model that `vision` means, and remarks on the models that the server has."""
    from mmrag.vision.endpoint import find_endpoint
    from mmrag.vision.server_models import VISION, list_models, notice, resolve, seeing_models

    endpoint = find_endpoint()
    try:
        chosen = resolve(VISION, endpoint)
    except MmragError:
        chosen = ""
    listed = list_models(endpoint)
    names = dict.fromkeys([chosen] * bool(chosen) + (seeing_models(listed) if listed else []))
    said = [notice(name, endpoint) for name in names]
    return chosen, tuple(one for one in said if one)


def _milvus(uri: str | None) -> Milvus:
    from mmrag.index.store import MilvusStore

    try:
        store = MilvusStore(uri)
        try:
            version = store.call("Milvus", lambda client: client.get_server_version())
        finally:
            store.close()
    except MmragError as error:
        return Milvus(problem=str(error))
    return Milvus(str(version), str(store.uri))
