"""The command line and the Python program that reproduce what a page shows."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from mmrag.types import Query


@dataclass(frozen=True)
class Recipe:
    """All that decides a result: `candidates` hits are retrieved and reranked, and k shown."""

    query: Query
    collection: str
    encoder: str
    k: int
    reranker: str | None = None
    presentation: str = "grid"
    candidates: int = 0


def command_line(recipe: Recipe) -> str:
    """The shell command; an uploaded picture is named `picture.jpg`."""
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
    for picture in _pictures(query):
        words += ["--image", picture]
    if query.text:
        words += ["--text", query.text]
    unwanted = query.unwanted
    if unwanted is not None:
        for picture in _pictures(unwanted):
            words += ["--without-image", picture]
        words += ["--without-text", unwanted.text] if unwanted.text else []
        words += ["--without-weight", f"{query.without_weight:g}"]
    words += ["-k", str(r.k)]
    if r.reranker:
        words += ["--rerank", r.reranker, "--rerank-k", str(r.candidates)]
        if r.presentation != "grid":
            words += ["--presentation", r.presentation]
    return shlex.join(words)


def python_code(recipe: Recipe) -> str:
    """The Python program; an uploaded picture is named `picture.jpg`."""
    query, r = recipe.query, recipe
    arguments = _arguments(query)
    if query.unwanted is not None:
        arguments.append(f"without=Query({', '.join(_arguments(query.unwanted))})")
        arguments.append(f"without_weight={query.without_weight:g}")
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


def _arguments(query: Query) -> list[str]:
    pictures = _pictures(query)
    found = [f"images={pictures!r}"] if len(pictures) > 1 else []
    found += [f"image={pictures[0]!r}"] if len(pictures) == 1 else []
    return found + ([f"text={query.text!r}"] if query.text else [])


def _pictures(query: Query) -> list[str]:
    paths = [os.fspath(i) if isinstance(i, str | os.PathLike) else None for i in query.images]
    if len(paths) == 1:
        return [paths[0] or "picture.jpg"]
    return [path or f"picture-{n}.jpg" for n, path in enumerate(paths, start=1)]
