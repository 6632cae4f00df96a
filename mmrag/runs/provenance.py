"""Provenance of an evaluation: the eval set's content, and the software it ran on."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.protocols import apply_protocol
from mmrag.images.unreadable import content_hash
from mmrag.metrics.metrics import canonical
from mmrag.runs.run import EvalSetRef, Run
from mmrag.system import shipped
from mmrag.version import __version__

_LIBRARIES = (
    "ir-measures",
    "milvus-lite",
    "numpy",
    "open-clip-torch",
    "openai",
    "pillow",
    "pymilvus",
    "pytrec-eval-terrier",
    "timm",
    "tokenizers",
    "torch",
    "transformers",
)


def labels_sha256(eval_set: EvalSet) -> str:
    """Hash of what decides a score: ids, texts, categories, metadata, judgments, settings.

    The folder and the order of judgments do not count.
    """
    root = eval_set.image_root
    digest = hashlib.sha256()

    def add(parts: Iterable[Any]) -> None:
        digest.update(json.dumps(list(parts), sort_keys=True).encode() + b"\n")

    add([eval_set.name, eval_set.version, eval_set.primary_metric, eval_set.exclude_query_image])
    for image in eval_set.images:
        add([image.image_id, _relative(image.path, root), image.text, image.metadata])
    for query in eval_set.queries:
        add(
            [
                query.query_id,
                _relative(query.image, root) if query.image else None,
                query.text,
                query.category,
                query.paraphrases,
                query.question,
                query.answers,
                query.metadata,
                *_special(query, root),
            ]
        )
    for query_id in sorted(eval_set.qrels):
        add([query_id, sorted(eval_set.qrels[query_id].items())])
    return digest.hexdigest()


def _special(query: EvalQuery, root: Path) -> list[Any]:
    """The rare fields of a query; empty without any, so that its hash is as in earlier versions."""
    parts: list[Any] = []
    if query.more_images:
        parts.append(["images", *(_relative(path, root) for path in query.more_images)])
    if query.without is not None:
        pictures = [_relative(str(path), root) for path in query.without.images]
        parts.append(["without", query.without.text, pictures, query.without_weight])
    if query.pool:
        parts.append(["pool", _pool_sha256(query.pool)])
    return parts


@lru_cache(maxsize=4096)
def _pool_sha256(pool: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(sorted(pool)).encode()).hexdigest()


def query_picture_hashes(eval_set: EvalSet) -> dict[str, str]:
    """SHA-256 of each query picture's bytes, by path; unreadable ones are left out."""
    paths = sorted({path for query in eval_set.queries for path in query.pictures})
    return {path: digest for path in paths if (digest := content_hash(path))}


def pictures_sha256(gallery: Mapping[str, str], queries: Mapping[str, str], root: Path) -> str:
    """Hash over the content hashes of the gallery's pictures (by id) and the queries' (by path)."""
    relative = {_relative(path, root): one for path, one in queries.items()}
    parts = [sorted(gallery.items()), sorted(relative.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def gallery_sha256(gallery: Mapping[str, str]) -> str:
    """Hash over the content hashes of the gallery's pictures, by id."""
    return hashlib.sha256(json.dumps(sorted(gallery.items())).encode()).hexdigest()


def environment(device: str = "") -> dict[str, Any]:
    """Versions, device and git commit: what is needed to repeat a run, and nothing secret."""
    return {
        "mmrag": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": _device_name(device),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
    }


def git_commit() -> str | None:
    """The commit of this checkout, with "-modified" for tracked files that differ; None if none."""
    folder = shipped.ROOT
    if not shipped.IS_CLONE or not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-modified" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device


def _relative(path: str, root: Path) -> str:
    # Most are plain and below the root; pathlib takes ten times as long to check.
    rest = path.removeprefix(f"{root}/")
    if rest != path and "//" not in path and "/." not in path and not path.endswith("/"):
        return rest
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def open_eval_set(run: Run) -> EvalSet:
    """Open the eval set that a run was made on, unchanged.

    Raises:
        MmragError: it is gone, or its queries or judgments have changed.
    """
    eval_set = EvalSet.load(run.eval_set.folder)
    if run.protocol is not None:
        eval_set = apply_protocol(eval_set, run.protocol)
    if labels_sha256(eval_set) != run.eval_set.labels_sha256:
        raise MmragError(
            f"The eval set in {run.eval_set.folder} has changed since run {run.run_id} was made; "
            "evaluate it again."
        )
    return eval_set


def eval_set_ref(
    eval_set: EvalSet, pictures: str | None = None, gallery: str | None = None
) -> EvalSetRef:
    """A run's reference to its eval set."""
    return EvalSetRef(
        name=eval_set.name,
        folder=str(eval_set.folder.absolute()),
        version=eval_set.version,
        labels_sha256=labels_sha256(eval_set),
        pictures_sha256=pictures,
        gallery_sha256=gallery,
        images=len(eval_set.images),
        queries=len(eval_set.queries),
        primary_metric=canonical(eval_set.primary_metric),
    )
