"""The vectors of queries: one picture or several, a text, and what is not wanted.

Several pictures: a model that takes lists gets them together with the text; for any other, each
picture is encoded with the text, and the vectors are averaged and normalised.

Unwanted things: with q the query's unit vector, n the unwanted one's and w its weight, unit(q - w
n) is searched. With w = 0.5 a picture that is as near to n as to q loses half its score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.errors import MmragError
from mmrag.types import Query

_NOTHING = 1e-6


def query_vectors(encoder: Encoder, queries: Sequence[Query], batch_size: int = 32) -> Vectors:
    """(n, dim) float32 vectors of queries, unit rows.

    Raises:
        ImageError: a picture cannot be read; the message names it.
        MmragError: subtracting what is not wanted leaves nothing of a query.
    """
    vectors = np.empty((len(queries), encoder.info.dim), np.float32)
    single = [i for i, query in enumerate(queries) if len(query.images) < 2]
    if single:
        images = [queries[i].image for i in single]
        texts = [queries[i].text or None for i in single]
        vectors[single] = encoder.encode(images, texts, batch_size, query=True)
    for i, query in enumerate(queries):
        if len(query.images) > 1:
            vectors[i] = _several(encoder, query)
    for i, query in enumerate(queries):
        if query.unwanted is not None:
            [unwanted] = query_vectors(encoder, [query.unwanted])
            vectors[i] = _unit(vectors[i] - np.float32(query.without_weight) * unwanted)
    return vectors


def query_notes(encoder: Encoder, query: Query) -> tuple[str, ...]:
    """Sentences on how a query was encoded; none for a picture, a text, or one of each."""
    notes = []
    if len(query.images) > 1:
        notes.append(several_note(encoder, len(query.images)))
    if query.unwanted is not None:
        notes.append(
            f"What is not wanted was taken off the query's vector, {query.without_weight:g} times."
        )
    return tuple(notes)


def several_note(encoder: Encoder, pictures: int) -> str:
    """A sentence on how a query of several pictures was encoded."""
    if encoder.takes_several:
        return f"{encoder.info.name} saw the {pictures} query pictures together."
    return (
        f"{encoder.info.name} takes one picture at a time: the vectors of the {pictures} query "
        "pictures, each with the text, were averaged and normalised."
    )


def _several(encoder: Encoder, query: Query) -> Vectors:
    if encoder.takes_several:
        return encoder.encode_several(query.images, query.text or None)
    texts = [query.text or None] * len(query.images)
    return _unit(encoder.encode(query.images, texts, query=True).mean(axis=0))


def _unit(vector: Vectors) -> Vectors:
    length = float(np.linalg.norm(vector))
    if length < _NOTHING:
        raise MmragError(
            "Nothing is left of the query without what is not wanted: they are the same. Give a "
            "smaller weight, or something else."
        )
    return vector / np.float32(length)
