"""CIRCUS: the queries of CIRR, FashionIQ, LaSCo and CIRCO that picture or text alone do not solve.

Source: M. Attimonelli et al.: "Do Composed Image Retrieval Benchmarks Require Multimodal
Composition?", arXiv 2605.14787; files of github.com/matteoattimonelli/CIRCUS, in M-BEIR's layout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers.notes import wordless_note
from mmrag.eval_sets.records import Record, inside, read_records
from mmrag.types import GalleryImage

BENCHMARKS = ("cirr", "fashioniq", "lasco", "circo")
VALIDATED = ("validated_solved", "validated_unsolved")
AUDITED = ("shortcut_free", "composition_required", "unresolved", "shortcut_solvable")
SPLITS = ("validated", *VALIDATED, *AUDITED)


def import_set(
    source: Path,
    folder: Path,
    split: str = "validated",
    category: str = "cirr",
    images: Path | None = None,
) -> EvalSet:
    """Import the queries of one benchmark with one label, over the benchmark's whole gallery.

    Args:
        source: the repository, with `final_dataset` and `shortcut_free_subsets`.
        folder: where the eval set goes.
        split: `validated`, or one of its two parts `validated_solved` and `validated_unsolved`; or
            `shortcut_free`, its parts `composition_required` and `unresolved`, or
            `shortcut_solvable`.
        category: the benchmark, one of `BENCHMARKS`.
        images: M-BEIR's folder, with `cand_pool` and the pictures. Default: `source`.
    """
    if category not in BENCHMARKS:
        raise EvalSetError(f"CIRCUS has no {category!r}; use one of {', '.join(BENCHMARKS)}.")
    if split not in SPLITS:
        raise EvalSetError(f"CIRCUS has no split {split!r}; use one of {', '.join(SPLITS)}.")
    root = (images or source).resolve()
    places = _Places(root)
    gallery: dict[str, str] = {}
    for record in read_records(_candidates(root, category)):
        image_id = record.id("cand_id" if "cand_id" in record.values else "did")
        if image_id in gallery:
            raise record.error(f"the id {image_id} stands twice")
        gallery[image_id] = places.find(record, "img_path")
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    for record in _queries(source, category, split):
        query_id = record.id("query_id" if "query_id" in record.values else "qid")
        if query_id in qrels:
            raise record.error(f"the id {query_id} stands twice")
        text = record.text("query_text" if "query_text" in record.values else "query_txt")
        right = record.strings("gt_cand_list") or record.strings("pos_cand_list")
        wrong = record.strings("neg_cand_list")
        if unknown := [one for one in (*right, *wrong) if one not in gallery]:
            raise record.error(f"the candidate {unknown[0]} is not in the gallery")
        reference = places.find(record, "query_img_path")
        target = record.strings("pos_cand_list")[:1]
        metadata = {"target": target[0]} if target and len(right) > 1 else {}
        queries.append(EvalQuery(query_id, reference, text, metadata=metadata))
        qrels[query_id] = dict.fromkeys(wrong, 0) | dict.fromkeys(right, 1)
    if not queries:
        raise EvalSetError(f"{source} holds no query of {category} with the label {split}.")
    return EvalSet(
        name=f"circus-{category}-{split.replace('_', '-')}",
        folder=folder,
        image_root=root,
        images=[GalleryImage(name, path) for name, path in gallery.items()],
        queries=queries,
        qrels=qrels,
        description=f"CIRCUS, {category}, {split.replace('_', ' ')}: queries that need both parts.",
        licence=f"the terms of {category}, for annotations and pictures",
        source="CIRCUS (Attimonelli et al., arXiv 2605.14787)",
        primary_metric="hit_rate@10",
        notes=wordless_note(queries),
    )


def _candidates(root: Path, benchmark: str) -> Path:
    """The file of a benchmark's gallery, under the names that CIRCUS and M-BEIR give it."""
    names = (f"{benchmark}_task7.jsonl", f"local/mbeir_{benchmark}_task7_cand_pool.jsonl")
    for name in names:
        if (root / "cand_pool" / name).is_file():
            return root / "cand_pool" / name
    raise EvalSetError(
        f"{root / 'cand_pool'} holds no {names[0]}; --images names M-BEIR's folder, as "
        "docs/DATA_DOWNLOAD.md of CIRCUS describes it."
    )


def _queries(source: Path, benchmark: str, split: str) -> Iterator[Record]:
    parts = VALIDATED if split == "validated" else (split,)
    for part in parts:
        above = "final_dataset/query_jsonl" if part in VALIDATED else "shortcut_free_subsets"
        folder = source / above / benchmark / part
        for path in sorted(folder.glob("*.jsonl")):
            if not path.name.endswith(".trace.jsonl"):
                yield from read_records(path)


class _Places:
    """Pictures below one folder, even if a file gives them a path of another machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, str] = {}

    def find(self, record: Record, key: str) -> str:
        """The path of a picture below the folder.

        For a path that begins elsewhere, the longest existing end counts, else the last part.
        """
        written = record.required(key)
        if not written.startswith(("/", "<")):
            found = inside(str(self.root), written)
        else:
            above, name = os.path.split(written)
            if above not in self._known:
                parts = PurePosixPath(above).parts
                ends = ["/".join(parts[i:]) for i in range(1, len(parts))]
                there = (end for end in ends if (self.root / end / name).is_file())
                self._known[above] = next(there, "")
            found = inside(str(self.root), os.path.join(self._known[above], name))
        if found is None:
            raise record.error(f"{key!r} leaves {self.root}")
        return found
