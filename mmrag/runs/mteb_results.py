"""Runs as MTEB's result files, to be sent to its results repository.

The repository keeps `results/MODEL/REVISION/TASK.json` with a `model_meta.json` beside it
(https://github.com/embeddings-benchmark/results); the layout is as in mteb 2.26.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.metrics.metrics import score_rankings
from mmrag.runs.run import Run

# Cut-offs, names and digits as in mteb.
_CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
_NAMES = {
    "nDCG": "ndcg_at_{}",
    "AP": "map_at_{}",
    "R": "recall_at_{}",
    "P": "precision_at_{}",
    "RR": "mrr_at_{}",
    "hit_rate": "hit_rate_at_{}",
}
_DIGITS = 5
_LAYOUT = "2.26.24"
_OPEN = ("mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "bsd-3-clause")


@dataclass(frozen=True)
class Task:
    """A task of mteb, as in mteb's own table."""

    name: str
    revision: str
    split: str = "test"
    main_score: str = "ndcg_at_10"
    languages: tuple[str, ...] = ("eng-Latn",)


# Benchmark and protocol to the equivalent task.
TASKS = {
    ("cirr", "mieb"): Task("CIRRIT2IRetrieval", "bb0713ed1ed136b2974fce68df7e26388040b650"),
    ("fashioniq", "mieb"): Task(
        "FashionIQIT2IRetrieval", "469fba95d895f129f1d297619835d724db01904d"
    ),
}


def task_of(run: Run) -> Task:
    """The task of a run's protocol; for other sets, one named by the set and its labels."""
    protocol = run.protocol
    known = TASKS.get((protocol.benchmark, protocol.name)) if protocol else None
    return known or Task(_plain(run.eval_set.name), run.eval_set.labels_sha256[:40])


def mteb_files(run: Run, eval_set: EvalSet, stage: str) -> list[tuple[str, dict[str, Any]]]:
    """File names and contents: the task's result, and the model's metadata.

    Cut-offs beyond the run's k are left out.

    Args:
        run: loaded whole.
        eval_set: the set it was made on.
        stage: of the rankings.
    """
    task, k = task_of(run), int(run.config.get("k") or 1)
    names = {
        f"{metric}@{cut}": name.format(cut)
        for metric, name in _NAMES.items()
        for cut in _CUTOFFS
        if cut <= k
    }
    found = score_rankings(
        run.ranking(stage), eval_set, list(names), query_ids=run.rankings[stage].keys()
    )
    scores: dict[str, Any] = {
        name: round(float(found.values[metric].mean()), _DIGITS) if found.query_ids else 0.0
        for metric, name in names.items()
    }
    main = task.main_score if task.main_score in scores else next(iter(scores))
    scores |= {
        "accuracy": scores["recall_at_1"],
        "main_score": scores[main],
        "hf_subset": "default",
        "languages": list(task.languages),
    }
    total = run.stage_timings(stage).get("total")
    result = {
        "dataset_revision": task.revision,
        "task_name": task.name,
        "mteb_version": _version(),
        "scores": {task.split: [scores]},
        "evaluation_time": total["mean"] * run.finished_queries / 1000 if total else None,
        "kg_co2_emissions": None,
    }
    encoder = run.config.get("encoder") or {}
    system = run.name if stage != "retrieval" or not encoder else str(encoder["name"])
    meta = model_meta(encoder, system, None)
    return [(f"{task.name}.json", result), ("model_meta.json", meta)]


def model_meta(encoder: Mapping[str, Any], name: str, revision: str | None) -> dict[str, Any]:
    """The fields of mteb's `ModelMeta` for an encoder.

    Args:
        encoder: its `name`, `fingerprint`, `dim`, `parameters` and `licence`, as far as known.
        name: of the model; one without an owner gets "mmrag".
        revision: None for the fingerprint.
    """
    licence = str(encoder.get("licence") or "").lower()
    return {
        "loader": None,
        "name": name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else f"mmrag/{_plain(name)}",
        "revision": revision or str(encoder.get("fingerprint") or "unknown")[:40],
        "release_date": None,
        "languages": ["eng-Latn"],
        "n_parameters": encoder.get("parameters"),
        "memory_usage_mb": None,
        "max_tokens": None,
        "embed_dim": encoder.get("dim"),
        "license": licence if licence in _OPEN else None,
        "open_weights": None,
        "public_training_code": None,
        "public_training_data": None,
        "framework": ["PyTorch"],
        "similarity_fn_name": "cosine",
        "use_instructions": False,
        "training_datasets": None,
        "modalities": ["text", "image"],
    }


def _plain(name: str) -> str:
    """A name that can be part of a file name; for a folder, its last part."""
    last = Path(name).name if name.startswith("/") else name
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "unnamed"


def _version() -> str:
    try:
        return importlib.metadata.version("mteb")
    except importlib.metadata.PackageNotFoundError:
        return _LAYOUT
