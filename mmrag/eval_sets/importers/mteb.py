"""The retrieval layout that MTEB and M-BEIR use on the hub: Parquet files with pictures inside.

Source: N. Muennighoff et al.: "MTEB: Massive Text Embedding Benchmark", EACL 2023; C. Xiao et al.:
"MIEB: Massive Image Embedding Benchmark", 2025; data sets such as MRBench/mbeir_cirr_task7.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels, read_head
from mmrag.eval_sets.importers.notes import left_out_note
from mmrag.eval_sets.importers.parquet_rows import rows
from mmrag.eval_sets.records import Record
from mmrag.system.durable import write_file
from mmrag.types import GalleryImage

_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif"}
_COLUMNS = ("id", "text", "image")
_PARTS = {
    "corpus": ("corpus",),
    "queries": ("queries", "query"),
    "qrels": ("qrels",),
    # Candidates of each query, in sets for reranking.
    "top_ranked": ("top_ranked",),
}


def import_set(source: Path, folder: Path, split: str = "test") -> EvalSet:
    """Import a set in the hub's layout; its pictures are written into `images` of `folder`.

    `corpus`, `queries` (or `query`) and `qrels` are folders of Parquet files or the beginning of
    their names (`corpus-00000-of-00001.parquet`); if names tell a split, those of `split` are
    taken. Columns: `id`, `text`, `image` (bytes); `query-id`, `corpus-id`, `score`. Files are
    streamed. Only documents with a picture can be in a gallery; others are an error, as are other
    kinds of retrieval. Unjudged queries are left out. `top_ranked`, if present, has `query-id` and
    `corpus-ids`, the candidates of each query.

    Args:
        source: the data set's folder.
        folder: where the eval set goes, pictures included.
        split: "test", "validation", ...
    """
    name = f"{source.resolve().name}-{split}"
    if (folder / "eval_set.json").exists() and read_head(folder).get("name") != name:
        raise EvalSetError(f"{folder} holds another eval set; name another folder.")
    qrels = _qrels(_files(source, "qrels", split))
    pictures = folder.resolve() / "images"
    gallery: dict[str, GalleryImage] = {}
    for row in rows(_files(source, "corpus", split), _COLUMNS):
        image_id = row.id("id")
        picture = _write(row, pictures / "corpus", len(gallery))
        if picture is None:
            raise row.error("has no picture, so nothing can find it")
        if image_id in gallery:
            raise row.error(f"the id {image_id!r} stands twice")
        gallery[image_id] = GalleryImage(image_id, picture, row.text("text") or "")
    queries: dict[str, EvalQuery] = {}
    empty: list[str] = []
    for row in rows(_files(source, "queries", split), _COLUMNS):
        query_id = row.id("id")
        if query_id not in qrels:
            continue
        text = (row.text("text") or "").strip() or None
        picture = _write(row, pictures / "queries", len(queries))
        if picture is None and text is None:
            empty.append(query_id)
        elif query_id in queries:
            raise row.error(f"the id {query_id!r} stands twice")
        else:
            queries[query_id] = EvalQuery(query_id, picture, text)
    for query_id, pool in _pools(source, split, gallery).items():
        if query_id in queries:
            queries[query_id] = replace(queries[query_id], pool=pool)
    if not queries:
        raise EvalSetError(f"No query of {source} is judged in the split {split!r}.")
    return EvalSet(
        name=name,
        folder=folder,
        image_root=pictures,
        images=list(gallery.values()),
        queries=list(queries.values()),
        qrels={i: judged for i, judged in qrels.items() if i in queries},
        description=f"{source.resolve().name}, {split}, from MTEB's layout.",
        licence="see the data set's card",
        source=f"{source.resolve().name}; pictures: from its Parquet files",
        primary_metric="nDCG@10",
        notes=left_out_note(empty),
    )


def _files(source: Path, part: str, split: str) -> list[Path]:
    """The Parquet files of one part, only of the split if their names tell one."""
    found = _found(source, part)
    if not found:
        raise EvalSetError(f"{source} holds no Parquet files of {part}.")
    named = [path for path in found if path.name.startswith((f"{split}-", f"{split}."))]
    return named or found


def _found(source: Path, part: str) -> list[Path]:
    return [
        path
        for path in sorted(source.glob("**/*.parquet"))
        if any(
            one == name or one.startswith(f"{name}-") or one == f"{name}.parquet"
            for one in path.relative_to(source).parts
            for name in _PARTS[part]
        )
    ]


def _qrels(files: list[Path]) -> Qrels:
    qrels: Qrels = {}
    for row in rows(files, ("query-id", "corpus-id", "score")):
        score = row.values.get("score")
        if not isinstance(score, int | float) or score != int(score):
            raise row.error("'score' must be a whole number")
        query_id, image_id = row.id("query-id"), row.id("corpus-id")
        qrels.setdefault(query_id, {})[image_id] = max(0, int(score))
    return qrels


def _pools(
    source: Path, split: str, gallery: dict[str, GalleryImage]
) -> dict[str, tuple[str, ...]]:
    if not _found(source, "top_ranked"):
        return {}
    pools = {}
    files = _files(source, "top_ranked", split)
    for row in rows(files, ("query-id", "corpus-ids")):
        ids = row.strings("corpus-ids")
        if unknown := [one for one in ids if one not in gallery]:
            raise row.error(f"{unknown[0]!r} is not in the corpus")
        pools[row.id("query-id")] = ids
    return pools


def _write(row: Record, folder: Path, number: int) -> str | None:
    """Write a row's picture under a new name; None if it has none."""
    value = row.values.get("image")
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes) or not data:
        return None
    suffix = next((s for magic, s in _SUFFIXES.items() if data.startswith(magic)), ".img")
    path = folder / f"{number:07d}{suffix}"
    if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
    return str(path)
