"""The command line and the Python that give what a page shows."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from mmrag.types import Query


@dataclass(frozen=True)
class Recipe:
    """All that decides a result. `candidates` hits are retrieved, reranked, and k of them shown."""

    query: Query
    collection: str
    encoder: str
    k: int
    reranker: str | None = None
    presentation: str = "grid"
    candidates: int = 0


def command_line(recipe: Recipe) -> str:
    """A shell command; an uploaded picture is called `picture.jpg`."""
    query, r = recipe.query, recipe
    words = [
        "python",
        "-m",
        "mmrag",
        "search",
        "--encoder",
        r.encoder,
        "--collection",
        r.collection,
    ]
    if query.image is not None:
        words += ["--image", _picture(query)]
    if query.text:
        words += ["--text", query.text]
    words += ["-k", str(r.k)]
    if r.reranker:
        words += ["--rerank", r.reranker, "--rerank-k", str(r.candidates)]
        if r.presentation != "grid":
            words += ["--presentation", r.presentation]
    return shlex.join(words)


def python_code(recipe: Recipe) -> str:
    """A short program; an uploaded picture is called `picture.jpg`."""
    query, r = recipe.query, recipe
    arguments = []
    if query.image is not None:
        arguments.append(f"image={_picture(query)!r}")
    if query.text:
        arguments.append(f"text={query.text!r}")
    names = "ImageIndex, Query, Searcher, load_encoder" + (", load_reranker" if r.reranker else "")
    how = "" if r.presentation == "grid" else f", presentation={r.presentation!r}"
    again = f", load_reranker({r.reranker!r}{how})" if r.reranker else ""
    retrieved = r.candidates if r.reranker else r.k
    return (
        f"from mmrag import {names}\n\n"
        f"encoder = load_encoder({r.encoder!r})\n"
        f"with ImageIndex.open(collection={r.collection!r}, encoder=encoder) as index:\n"
        f"    searcher = Searcher(index, encoder{again})\n"
        f"    result = searcher.search(Query({', '.join(arguments)}), k={retrieved})\n"
        f"for hit in result.hits[:{r.k}]:\n"
        "    print(hit.rank, round(hit.score, 3), hit.path)\n"
    )


def _picture(query: Query) -> str:
    return query.image_path or "picture.jpg"
