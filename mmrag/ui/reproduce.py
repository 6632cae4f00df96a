"""The command line and the Python that give what a page shows."""

from __future__ import annotations

import shlex

from mmrag.types import Query


def command_line(
    query: Query, collection: str, encoder: str, reranker: str | None, presentation: str, k: int
) -> str:
    """A shell command; an uploaded picture is called `picture.jpg`."""
    words = ["python", "-m", "mmrag", "search", "--encoder", encoder, "--collection", collection]
    if query.image is not None:
        words += ["--image", _picture(query)]
    if query.text:
        words += ["--text", query.text]
    words += ["-k", str(k)]
    if reranker:
        words += ["--rerank", reranker]
        if presentation != "grid":
            words += ["--presentation", presentation]
    return shlex.join(words)


def python_code(
    query: Query, collection: str, encoder: str, reranker: str | None, presentation: str, k: int
) -> str:
    """A short program; an uploaded picture is called `picture.jpg`."""
    arguments = []
    if query.image is not None:
        arguments.append(f"image={_picture(query)!r}")
    if query.text:
        arguments.append(f"text={query.text!r}")
    names = "ImageIndex, Query, Searcher, load_encoder" + (", load_reranker" if reranker else "")
    how = "" if presentation == "grid" else f", presentation={presentation!r}"
    again = f", load_reranker({reranker!r}{how})" if reranker else ""
    return (
        f"from mmrag import {names}\n\n"
        f"encoder = load_encoder({encoder!r})\n"
        f"with ImageIndex.open(collection={collection!r}, encoder=encoder) as index:\n"
        f"    searcher = Searcher(index, encoder{again})\n"
        f"    result = searcher.search(Query({', '.join(arguments)}), k={k})\n"
        "for hit in result.hits:\n"
        "    print(hit.rank, round(hit.score, 3), hit.path)\n"
    )


def _picture(query: Query) -> str:
    return query.image_path or "picture.jpg"
