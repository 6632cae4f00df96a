"""Models for background work, which take turns with the visitors' searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from mmrag.encoders.encoder import Encoder
from mmrag.encoders.model import AnyShapeModel
from mmrag.rerank.reranker import Reranker
from mmrag.ui import resources
from mmrag.ui.fair_lock import Turns

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from mmrag.encoders.model import Ability, EmbeddingModel
    from mmrag.images.decode import Pixels
    from mmrag.types import SearchResult
    from mmrag.vision.budget import Budget


def encoder(name: str) -> Encoder:
    """The encoder of the searches; they run in between its batches."""
    shared = resources.encoder(name)
    return Encoder(_TakesTurns(shared.model, resources.model_turns()), shared.info)


def reranker(
    name: str,
    presentation: str,
    max_cost: Budget,
    *,
    batch: bool = False,
    depth: int | None = None,
) -> Reranker:
    """A reranker; if it computes here, searches run in between its batches."""
    from mmrag.rerank import load_reranker
    from mmrag.rerank.cascade import Cascade, parse_stages

    if stages := parse_stages(name):
        made = [reranker(one, presentation, max_cost, batch=batch, depth=n) for one, n in stages]
        return Cascade(made, name)
    kind, _, rest = name.partition(":")
    if kind == "encoder":
        return load_reranker(name, encoder=encoder(rest), depth=depth)
    loaded = load_reranker(
        name, presentation=presentation, max_cost=max_cost, batch=batch, depth=depth
    )
    return _InTurn(loaded, resources.model_turns()) if kind in ("bge-reranker", "ce") else loaded


class _TakesTurns:
    """A model that computes one batch at a time."""

    def __init__(self, model: EmbeddingModel, turns: Turns) -> None:
        self.dim = model.dim
        self.image_size = model.image_size
        # Without abilities that change it: visitors share it.
        self.abilities: frozenset[Ability] = model.abilities & {"any-shape", "several"}
        self._model = model
        self._turns = turns

    def preprocess(self, image: Image.Image) -> Pixels:
        return self._model.preprocess(image)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        return self._model.parameters()

    def embed(self, pixels: torch.Tensor | None, texts: Sequence[str] | None) -> torch.Tensor:
        with self._turns.turn():
            return self._model.embed(pixels, texts)

    def picture_tokens(self, height: int, width: int) -> int:
        return cast(AnyShapeModel, self._model).picture_tokens(height, width)

    def embed_any_shape(
        self, pictures: Sequence[Pixels] | None, texts: Sequence[str] | None, query: bool
    ) -> torch.Tensor:
        with self._turns.turn():
            return cast(AnyShapeModel, self._model).embed_any_shape(pictures, texts, query)

    def embed_several(self, pictures: Sequence[Pixels], text: str | None) -> torch.Tensor:
        with self._turns.turn():
            return cast(AnyShapeModel, self._model).embed_several(pictures, text)


class _InTurn(Reranker):
    """A reranker that computes one query at a time."""

    def __init__(self, model: Reranker, turns: Turns) -> None:
        self.name, self.depth = model.name, model.depth
        self.fingerprint, self.costs_money = model.fingerprint, model.costs_money
        self._model = model
        self._turns = turns

    @property
    def configuration(self) -> dict[str, Any]:
        return self._model.configuration

    def rerank_many(
        self,
        results: Sequence[SearchResult],
        on_done: Callable[[int, SearchResult], None] | None = None,
    ) -> list[SearchResult]:
        outcomes = []
        for position, result in enumerate(results):
            with self._turns.turn():
                outcomes.append(self._model.rerank(result))
            if on_done is not None:
                on_done(position, outcomes[-1])
        return outcomes
