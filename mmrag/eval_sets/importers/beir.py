"""BEIR's layout: `corpus.jsonl`, `queries.jsonl` and `qrels/SPLIT.tsv`.

Source: N. Thakur, N. Reimers, A. Rücklé, A. Srivastava, I. Gurevych: "BEIR: A Heterogeneous
Benchmark for Zero-shot Evaluation of Information Retrieval Models", NeurIPS 2021.
"""

from __future__ import annotations

from pathlib import Path

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import (
    POOLS,
    EvalQuery,
    EvalSet,
    parse_query,
    read_pools,
    read_qrels,
)
from mmrag.eval_sets.importers.notes import left_out_note
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import Record, inside, read_records
from mmrag.system.names import Names
from mmrag.types import GalleryImage

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def import_set(
    source: Path, folder: Path, split: str = "test", images: Path | None = None
) -> EvalSet:
    """A set in BEIR's layout, with pictures.

    A record's picture is its `image`, relative to `images`, else to `source`. Plain BEIR has none:
    then it is the file in `images` named after the record's `_id`. A document's `title` and `text`
    are joined, as in BEIR's own loader, and only queries that `split` judges are kept. Grades
    below 0, as in TREC-COVID, become 0; a query with neither picture nor
    text cannot be asked and is left out.

    Args:
        source: the folder with `corpus.jsonl`.
        folder: where the eval set goes.
        split: the name of a file in `qrels`.
        images: the folder of pictures. Default: `source`; for plain BEIR its `images`.
    """
    root = data_folder(source, "corpus.jsonl")
    documents = list(read_records(root / "corpus.jsonl"))
    named = any("image" in record.values for record in documents)
    pictures = image_folder(images, *([root] if named else [root / "images", root]))
    there = Names(path.name for path in pictures.iterdir())
    gallery: dict[str, GalleryImage] = {}
    for record in documents:
        image = _document(record, str(pictures), there)
        if gallery.setdefault(image.image_id, image) is not image:
            raise record.error(f"the id {image.image_id!r} stands twice")
    qrels = {
        query_id: {image_id: max(0, grade) for image_id, grade in judged.items()}
        for query_id, judged in read_qrels(root / "qrels" / f"{split}.tsv").items()
    }
    pools = read_pools(root / POOLS, gallery)
    queries: dict[str, EvalQuery] = {}
    empty: list[str] = []
    for record in read_records(root / "queries.jsonl"):
        if record.id() not in qrels:
            continue
        if record.text("image") is None and record.text("text") is None:
            empty.append(record.id())
            continue
        query = parse_query(record, str(pictures), pools, gallery)
        if queries.setdefault(query.query_id, query) is not query:
            raise record.error(f"the id {query.query_id!r} stands twice")
    for query_id in empty:
        qrels.pop(query_id, None)
    if not queries:
        raise EvalSetError(f"No query of {root / 'queries.jsonl'} is judged in {split}.tsv.")
    return EvalSet(
        name=f"{root.name}-{split}",
        folder=folder,
        image_root=pictures,
        images=list(gallery.values()),
        queries=list(queries.values()),
        qrels=qrels,
        description=f"{root.name}, {split}, from BEIR's layout.",
        licence="see whoever published the files",
        primary_metric="nDCG@10",
        notes=left_out_note(empty),
    )


def _document(record: Record, pictures: str, there: Names) -> GalleryImage:
    name, path = record.id(), record.image(pictures)
    if path is None:
        files = [file for suffix in SUFFIXES if (file := there.find(name + suffix)) is not None]
        path = inside(pictures, files[0] if files else name + SUFFIXES[0])
    if path is None:
        raise record.error(f"the picture called like {name!r} leaves the folder of pictures")
    texts = [text.strip() for key in ("title", "text") if (text := record.text(key))]
    return GalleryImage(name, path, " ".join(texts), record.object("metadata"))
