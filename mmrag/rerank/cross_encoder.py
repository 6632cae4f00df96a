"""A text cross-encoder of the BGE family scores instruction against description."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.encoders import sentence_names
from mmrag.encoders.checkpoints import fingerprint
from mmrag.encoders.device import resolve_device, resolve_precision
from mmrag.errors import CheckpointError, MmragError, one_line
from mmrag.rerank.reorder import IGNORES_WITHOUT, by_score
from mmrag.rerank.reranker import OnDone, Reranker, RerankerDescription, RerankOptions
from mmrag.types import SearchResult

DEFAULT_MODEL = "BAAI/bge-reranker-base"
GIGABYTES = 1.1  # of the default


def takes(name: str) -> bool:
    """Whether the name is `bge-reranker`, alone or with a model after a colon."""
    return name.partition(":")[0] == "bge-reranker"


def describe() -> list[RerankerDescription]:
    """The default model, which is fetched from its hub."""
    return [
        RerankerDescription(
            "bge-reranker",
            "a cross-encoder scores instruction against description; bge-reranker:NAME_OR_FOLDER "
            "names another",
            find("bge-reranker") is not None,
            f"mmrag download bge-reranker  ({GIGABYTES} GB), or fetched from the hub on first use",
        )
    ]


def find(name: str) -> Path | None:
    """The folder of a local model: named, downloaded, or kept by the hub's own client."""
    model = _model(name)
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub.constants import HF_HUB_CACHE

    # Pages ask often, and importing the hub's client takes half a second.
    kept = Path(HF_HUB_CACHE) / f"models--{model.partition('@')[0].replace('/', '--')}"
    if not (kept.is_dir() or (config.weights_dir() / "ce" / model).is_dir()):
        return None
    try:
        folder = sentence_names.find(f"ce:{model}")
    except MmragError:
        return None
    # The hub's client may have kept only part of it.
    weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return folder if weights and (folder / "config.json").is_file() else None


def download(name: str, progress: Any = None) -> list[Path]:
    """Fetch all files that the model needs into `MMRAG_HOME`, where `find` finds them."""
    return sentence_names.download(f"ce:{_model(name)}", progress)


def load(name: str, options: RerankOptions) -> Reranker:
    """Load the model after the colon, or the default."""
    return CrossEncoderReranker(
        str(find(name) or _model(name)),
        name,
        depth=options.depth,
        device=options.device,
        precision=options.precision,
    )


class CrossEncoderReranker(Reranker):
    """FlagEmbedding's `FlagReranker`; it reads only text, so hits need descriptions.

    Args:
        model: hub name, fetched on first use, or the path of a folder.
        name: as `load_reranker` knows it.
        depth: how many of the first hits are reranked; None for all.
        device: as `load_encoder`.
        precision: as `load_encoder`; half precision is used on accelerators only.

    Raises:
        CheckpointError: the model is not here and cannot be fetched, or is not one.
        MmragError: FlagEmbedding cannot be imported.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        name: str = "bge-reranker",
        *,
        depth: int | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        place = resolve_device(device)
        half = place.type != "cpu" and resolve_precision(precision, place) != "fp32"
        self.name = name
        self.depth = depth
        self._model = _load(model, str(place), half)
        self.fingerprint = fingerprint(self._model.model, {"class": "bge-reranker"})

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`; hits get the model's score between 0 and 1.

        Hits without a description keep their order after those with one. A query without text keeps
        the order of retrieval: there is nothing to score.
        """
        outcomes: list[SearchResult] = []
        for result in results:
            outcomes.append(self._score(result))
            if on_done is not None:
                on_done(len(outcomes) - 1, outcomes[-1])
        return outcomes

    def _score(self, result: SearchResult) -> SearchResult:
        started = time.perf_counter()
        hits = result.hits[: self.depth]
        text = result.query.text
        described = [i for i, hit in enumerate(hits) if hit.text.strip()] if text else []
        problems = []
        if not text:
            problems.append("the query has no text, and this reranker reads only texts")
        elif len(described) < len(hits):
            problems.append(f"{len(hits) - len(described)} of {len(hits)} hits have no description")
        if result.query.unwanted is not None:
            problems.append(IGNORES_WITHOUT)
        pairs = [(text or "", hits[i].text) for i in described]
        values = self._model.compute_score(pairs, normalize=True) if pairs else []
        scores = dict(zip(described, map(float, values), strict=True))
        ms = 1000 * (time.perf_counter() - started)
        return by_score(result, scores, len(hits), self.name, problems, ms)


def _model(name: str) -> str:
    return name.partition(":")[2] or DEFAULT_MODEL


def _load(model: str, device: str, half: bool) -> Any:
    try:
        from FlagEmbedding import FlagReranker
    except ImportError as error:
        raise MmragError(
            f"FlagEmbedding does not work with what is installed here ({error}); "
            "`pip install --upgrade mmrag` brings what does."
        ) from error
    if Path(model).exists() and not (Path(model) / "config.json").is_file():
        raise CheckpointError(f"{model} is not a model's folder: it has no config.json.")
    try:
        return FlagReranker(model, use_fp16=half, devices=[device], trust_remote_code=False)
    # Absent, incomplete and mismatched files, and pickled code, fail in many ways.
    except Exception as error:
        first = one_line(error)
        raise CheckpointError(
            f"The reranker {model} cannot be loaded: name a folder that holds it, or a hub name "
            f"while there is a network (HF_ENDPOINT names another hub). {first}"
        ) from error
