"""Cross-encoders of sentence-transformers score pairs of query and hit, pictures and texts.

Format of pairs: `CrossEncoder.predict` of sentence-transformers takes pairs of dictionaries with
"image" and "text"; text-only models take pairs of strings. The model's own files define the prompt
(https://sbert.net/docs/cross_encoder/usage/usage.html).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmrag import config
from mmrag.encoders import sentence_names
from mmrag.errors import CheckpointError, ImageError, MmragError
from mmrag.images.decode import load_image
from mmrag.images.streaming import map_ahead
from mmrag.images.unreadable import query_problem
from mmrag.rerank.reorder import IGNORES_WITHOUT, by_score
from mmrag.rerank.reranker import OnDone, Reranker, RerankerDescription, RerankOptions
from mmrag.system.sqlite import open_cache
from mmrag.types import Hit, Query, SearchResult

if TYPE_CHECKING:
    import torch
    from sentence_transformers import CrossEncoder

    Side = dict[str, Any]
    Pair = tuple[Side, Side]

# Pairs per forward pass.
_BATCH_SIZES = {"cpu": 8, "cuda": 64, "mps": 16}
_MOST = 100
_SAMPLE_SIDE = 448
_SAMPLE_TEXT = "the same thing in another colour, seen from the side, on a plain background"
_TABLE = "CREATE TABLE IF NOT EXISTS pace (model TEXT PRIMARY KEY, seconds REAL NOT NULL)"


def takes(name: str) -> bool:
    """Whether the name is `ce:` and a name or folder."""
    kind, _, rest = name.partition(":")
    return kind == "ce" and bool(rest)


def describe() -> list[RerankerDescription]:
    """The kind, and models that `download` fetched."""
    kind = "a cross-encoder of sentence-transformers scores pairs of query and hit"
    return [
        RerankerDescription("ce:NAME_OR_FOLDER", kind, True, "mmrag download ce:NAME"),
        *(RerankerDescription(name, kind, True, "") for name in here()),
    ]


def here() -> list[str]:
    """The names of models that `download` fetched."""
    return [f"ce:{name}" for name in sentence_names.names_here("ce")]


def load(name: str, options: RerankOptions) -> Reranker:
    """Load from a folder, or from what `download` or the hub's own client fetched."""
    from sentence_transformers import CrossEncoder

    from mmrag.encoders import checkpoints, sentence
    from mmrag.encoders.device import resolve_device, resolve_precision, torch_dtype

    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    if precision == "int8":
        raise MmragError(f"The reranker {name!r} does not run in int8; use --precision auto.")
    folder = sentence_names.find(name)
    model = sentence.open_folder(
        CrossEncoder, folder, name, options.trust_reranker_code, "--trust-reranker-code"
    )
    if model.num_labels != 1:
        raise CheckpointError(
            f"{name} sorts into {model.num_labels} classes; a reranker gives one score."
        )
    files = {"class": "ce", "files": sentence.digests(folder)}
    fingerprint = checkpoints.fingerprint(model, files)
    with sentence.exact_buffers(model):
        model.to(device, torch_dtype(precision, device)).eval()
    return PairReranker(model, name, fingerprint, device, options.depth, keep_pace=options.cache)


class PairReranker(Reranker):
    """Orders hits by the score that a `CrossEncoder` gives to query and hit.

    Query: picture and instruction; hit: picture and description. A text-only model reads just
    instruction and description.

    Args:
        model: on its device, in its precision.
        name: as `load_reranker` knows it.
        fingerprint: of its weights and files.
        device: where it is.
        depth: how many of the first hits are reranked; None for as many as it scores in about a
            second, measured on two pairs the first time and kept under `MMRAG_HOME/cache`.
        keep_pace: False to measure each time.
    """

    def __init__(
        self,
        model: CrossEncoder,
        name: str,
        fingerprint: str,
        device: torch.device,
        depth: int | None = None,
        *,
        keep_pace: bool = True,
    ) -> None:
        self._model, self.name, self.fingerprint = model, name, fingerprint
        self._device = device
        self.sees = model.supports("image")
        self.batch_size = _BATCH_SIZES.get(device.type, 8)
        self._notices: list[str] = []
        self.depth = depth
        if depth is None:
            seconds = self._pace(keep_pace)
            self.depth = max(2, min(_MOST, int(1 / seconds)))
            self._notices = [
                f"{name} takes about {seconds:.2g} s a pair here, so the first {self.depth} hits "
                "are reranked; --rerank-k N takes others."
            ]

    def notices(self) -> list[str]:
        """How many hits are reranked, if the user did not say."""
        return self._notices

    def rerank_many(
        self, results: Sequence[SearchResult], on_done: OnDone | None = None
    ) -> list[SearchResult]:
        """As `Reranker.rerank_many`; hits get the model's score.

        Hits that cannot be scored keep their order after the rest. `rerank.details` has `pairs`,
        how many were scored, and `memory_mb`, the peak of the process or of the GPU.
        """
        work = [_Work(result, result.hits[: self.depth]) for result in results]
        outcomes: dict[int, SearchResult] = {}

        def finish(place: int) -> None:
            outcomes[place] = self._outcome(work[place])
            if on_done is not None:
                on_done(place, outcomes[place])

        batch: list[tuple[int, int, Pair]] = []
        for (place, i), pair in map_ahead(
            lambda key: self._pair(work[key[0]], key[1]),
            self._wanted(work),
            ahead=2 * self.batch_size,
        ):
            if isinstance(pair, ImageError):
                hit = work[place].hits[i]
                work[place].problems.append(f"{hit.image_id} cannot be scored: {pair}")
                work[place].left -= 1
            elif isinstance(pair, BaseException):
                raise pair
            else:
                batch.append((place, i, pair))
            if len(batch) == self.batch_size:
                self._compute(work, batch)
                touched = dict.fromkeys(place for place, _, _ in batch)
                batch.clear()
                for place in touched:
                    if not work[place].left:
                        finish(place)
        if batch:
            self._compute(work, batch)
        for place in range(len(work)):
            if place not in outcomes:
                finish(place)
        return [outcomes[place] for place in range(len(work))]

    def _wanted(self, work: Sequence[_Work]) -> Iterator[tuple[int, int]]:
        """Positions of results and of hits in them; notes what a query lacks."""
        for place, one in enumerate(work):
            query = one.result.query
            try:
                one.query = self._query(query)
            except ImageError as error:
                one.problems.append(query_problem(error))
            if not one.query:
                if not one.problems:
                    one.problems.append("the query has no text, and this reranker reads only texts")
                continue
            wanted = [i for i, hit in enumerate(one.hits) if self.sees or hit.text.strip()]
            if len(wanted) < len(one.hits):
                n = len(one.hits)
                one.problems.append(f"{n - len(wanted)} of {n} hits have no description")
            if query.unwanted is not None:
                one.problems.append(IGNORES_WITHOUT)
            one.left = len(wanted)
            yield from ((place, i) for i in wanted)

    def _query(self, query: Query) -> Side:
        side: Side = {}
        if self.sees and query.images:
            seen = [load_image(image) for image in query.images]
            side["image"] = seen if len(seen) > 1 else seen[0]
        if query.text:
            side["text"] = _text(query.text)
        return side

    def _pair(self, one: _Work, i: int) -> Pair:
        hit: Hit = one.hits[i]
        side: Side = {"image": load_image(hit.path)} if self.sees else {}
        if hit.text.strip():
            side["text"] = _text(hit.text)
        return one.query, side

    def _compute(self, work: Sequence[_Work], batch: Sequence[tuple[int, int, Pair]]) -> None:
        started = time.perf_counter()
        scores = self._scores([pair for _, _, pair in batch])
        ms = 1000 * (time.perf_counter() - started) / len(batch)
        for (place, i, _), score in zip(batch, scores, strict=True):
            work[place].scores[i] = float(score)
            work[place].ms += ms
            work[place].left -= 1

    def _scores(self, pairs: Sequence[Pair]) -> np.ndarray[Any, Any]:
        inputs: list[Any] = list(pairs)
        if not self.sees:
            # As strings: the tokenizer's own pairs, never opened as paths or addresses.
            inputs = [(query["text"], found["text"]) for query, found in pairs]
        found: np.ndarray[Any, Any] = self._model.predict(
            inputs, batch_size=self.batch_size, show_progress_bar=False
        )
        return found

    def _outcome(self, one: _Work) -> SearchResult:
        details = {"pairs": len(one.scores), "memory_mb": round(_peak_memory(self._device))}
        return by_score(
            one.result, one.scores, len(one.hits), self.name, one.problems, one.ms, details
        )

    def _pace(self, keep: bool) -> float:
        """Seconds that a pair takes on this device, from disk if stored there."""
        key = f"{self.fingerprint} {self._device} {next(self._model.parameters()).dtype}"
        path = config.home() / "cache" / "pace.sqlite"
        if keep and path.is_file():
            with open_cache(path, _TABLE) as connection:
                row = connection.execute("SELECT seconds FROM pace WHERE model = ?", [key])
                for (seconds,) in row:
                    return float(seconds)
        side: Side = {"text": _SAMPLE_TEXT}
        if self.sees:
            side["image"] = Image.new("RGB", (_SAMPLE_SIDE, _SAMPLE_SIDE), "grey")
        self._scores([(side, side)])
        started = time.perf_counter()
        self._scores([(side, side)] * 2)
        seconds = max((time.perf_counter() - started) / 2, 1e-6)
        if keep:
            with open_cache(path, _TABLE) as connection:
                connection.execute("INSERT OR REPLACE INTO pace VALUES (?, ?)", [key, seconds])
        return seconds


@dataclass
class _Work:
    """One result in progress: `left` of its pairs are not scored yet."""

    result: SearchResult
    hits: list[Hit]
    query: Side = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    ms: float = 0.0
    left: int = 0


def download(name: str, progress: Any = None, *, prove: bool = True) -> list[Path]:
    """As `download_encoder`, for a cross-encoder."""
    from sentence_transformers import CrossEncoder

    from mmrag.encoders import sentence

    files = sentence_names.download(name, progress)
    if prove:
        sentence.open_folder(CrossEncoder, sentence_names.find(name), name, False)
    return files


def _text(text: str) -> str:
    # Command-line arguments may hold bytes that are not UTF-8, which no tokenizer takes.
    return text.encode("utf-8", "replace").decode()


def _peak_memory(device: torch.device) -> float:
    """Peak memory in MB (10^6 bytes): of the GPU since the start, else of this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    # Not on every system.
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
