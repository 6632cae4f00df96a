"""Convert results to what a page shows."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag.images.thumbnails import data_url
from mmrag.ui.picture_grid import Tile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.types import Hit, ImageSource, SearchResult


def judged(result: SearchResult, eval_set: EvalSet | None, query_id: str | None) -> set[str] | None:
    """Ids of the right images, or None if the hits cannot be judged.

    That is so without judgments, and for hits from another gallery than the eval set's.
    """
    if eval_set is None or query_id is None or query_id not in eval_set.qrels:
        return None
    known = {image.image_id for image in eval_set.images}
    if not all(hit.image_id in known for hit in result.hits):
        return None
    return eval_set.relevant(query_id)


def hit_tiles(
    hits: list[Hit], right: set[str] | None, judgments: Mapping[str, int] | None = None
) -> list[Tile]:
    """Tiles with rank, score, tick or cross, and the ranks moved by reranking.

    Args:
        hits: best first.
        right: ids of the right images, None if nothing is judged.
        judgments: grades by image; images neither right nor in it were never judged.
    """
    tiles = []
    for hit in hits:
        mark = None if right is None else "right" if hit.image_id in right else "wrong"
        if mark == "wrong" and judgments is not None and hit.image_id not in judgments:
            mark = "unjudged"
        shown = f"{hit.score:.3f}" if math.isfinite(hit.score) else ""
        words = {"right": ", right", "wrong": ", not right", "unjudged": ", not judged", None: ""}[
            mark
        ]
        tiles.append(
            Tile(
                id=hit.image_id,
                src=data_url(hit.path),
                label=f"Rank {hit.rank}{words}: {hit.image_id}. {hit.text}",
                badge=str(hit.rank),
                score=shown,
                mark=mark,  # type: ignore[arg-type]
                moved=hit.retrieval_rank - hit.rank,
                tip=hit.text or hit.image_id,
            )
        )
    return tiles


def first_right(hits: list[Hit], right: set[str] | None) -> str:
    """The rank of the first right image, in words."""
    if right is None:
        return ""
    for hit in hits:
        if hit.image_id in right:
            moved = hit.retrieval_rank - hit.rank
            came = f" (retrieved at {hit.retrieval_rank})" if moved else ""
            return f"First right image at rank {hit.rank}{came}"
    return f"No right image among the first {len(hits)}"


def as_json(result: SearchResult) -> str:
    """The result as a JSON document; an uploaded picture is named, not included."""
    query = result.query
    names = [_file_name(image) for image in query.images]
    document: dict[str, Any] = {
        "query": {
            "image": names[0] if names else None,
            **({"images": names} if len(names) > 1 else {}),
            "text": query.text,
        },
        **({"notes": result.notes} if result.notes else {}),
        # Paths on this machine stay private.
        "hits": [asdict(hit) | {"path": Path(hit.path).name} for hit in result.hits],
        "explanation": result.explanation,
        "rerank": asdict(result.rerank) if result.rerank else None,
        "timings_ms": result.timings_ms,
    }
    return json.dumps(document, ensure_ascii=False, indent=1, default=str)


def _file_name(image: ImageSource) -> str:
    return Path(image).name if isinstance(image, str | os.PathLike) else "(uploaded)"


def as_csv(result: SearchResult) -> str:
    """The hits as CSV, safe to open in a spreadsheet."""
    from mmrag.system.spreadsheet import spreadsheet_cell

    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["rank", "image_id", "file", "score", "retrieval_rank", "text"])
    for hit in result.hits:
        cells = [hit.image_id, Path(hit.path).name, hit.text]
        image_id, file, text = map(spreadsheet_cell, cells)
        writer.writerow([hit.rank, image_id, file, f"{hit.score:.6f}", hit.retrieval_rank, text])
    return out.getvalue()
