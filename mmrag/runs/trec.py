"""TREC run files: rankings read and written as every retrieval tool does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from mmrag.errors import MmragError
from mmrag.metrics.metrics import trec_order
from mmrag.runs.run import Ranked
from mmrag.system.names import Names
from mmrag.system.text_files import open_text

_BLANK = re.compile(r"[\s%]")


def trec_lines(ranked: Mapping[str, Ranked], tag: str) -> Iterator[str]:
    """`query Q0 image rank score tag`, one line per result.

    Scores are written so that trec_eval, which sorts by score and not by rank, gets the same order:
    unchanged where that works (with nine digits, which tell 32-bit floats apart), else as falling
    whole numbers. Blanks in ids are percent-encoded, as the format has no quotes.
    """
    names = _encoded(set(ranked) | {i for one in ranked.values() for i in one.image_ids})
    tag = re.sub(r"\s+", "_", tag.strip()) or "mmrag"
    plain = all(_scores_give_order(one) for one in ranked.values())
    for query_id, one in ranked.items():
        n = len(one.image_ids)
        scores = one.scores if plain else [float(n - i) for i in range(n)]
        for rank, (image_id, score) in enumerate(zip(one.image_ids, scores, strict=True), start=1):
            yield f"{names[query_id]} Q0 {names[image_id]} {rank} {score:.9g} {tag}\n"


def read_trec(
    path: Path, repeated: set[str] | None = None
) -> tuple[dict[str, dict[str, float]], str]:
    """Read query id to image id to score, and the file's tag.

    With `repeated`, an image that occurs twice keeps its best score, and its query is added to it.

    Raises:
        MmragError: a malformed line; names file and line.
    """
    found: dict[str, dict[str, float]] = {}
    tag = ""
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                parts = line.split()
                if len(parts) != 6:
                    raise MmragError(
                        f"{path}, line {number}: expected query, Q0, image, rank, score and tag, "
                        f"separated by blanks, not {len(parts)} parts."
                    )
                query_id, _, image_id, _, written, tag = parts
                score = _number(written)
                if score is None:
                    raise MmragError(f"{path}, line {number}: {written!r} is no score.")
                scores = found.setdefault(query_id, {})
                if image_id in scores and repeated is not None:
                    repeated.add(query_id)
                    score = max(score, scores[image_id])
                elif image_id in scores:
                    raise MmragError(
                        f"{path}, line {number}: {image_id!r} stands twice for {query_id!r}."
                    )
                scores[image_id] = score
    except (OSError, UnicodeDecodeError) as error:
        raise MmragError(f"{path} cannot be read: {error}") from error
    return found, tag


def decoded(name: str, known: Names) -> str | None:
    """The id that a name in a file stands for: the name itself, or its percent-decoded form.

    Raises:
        AmbiguousName: it is neither, and several ids are written almost the same.
    """
    for candidate in (name, unquote(name)):
        if candidate in known:
            return candidate
    return known.find(name) or known.find(unquote(name))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _scores_give_order(one: Ranked) -> bool:
    if len(one.scores) != len(one.image_ids) or not all(math.isfinite(s) for s in one.scores):
        return False
    falling = np.diff(np.array(one.scores, np.float64).astype(np.float32)) < 0
    return bool(falling.all()) or trec_order(
        dict(zip(one.image_ids, one.scores, strict=True))
    ) == list(one.image_ids)


def _encoded(names: set[str]) -> dict[str, str]:
    if not any(re.search(r"\s", name) for name in names):
        return {name: name for name in names}
    return {
        name: quote(name, safe="/:;,+=@!()[]~*'&$#") if _BLANK.search(name) else name
        for name in names
    }
