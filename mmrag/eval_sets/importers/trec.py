"""TREC's files: topics, `qrels` with four columns, and images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import RecordError, inside, parse_grade, read_lines, read_tsv
from mmrag.galleries.gallery import open_gallery
from mmrag.system.names import Names
from mmrag.types import GalleryImage


def import_set(source: Path, folder: Path, images: Path | None = None) -> EvalSet:
    """Import topics and judgments of a TREC-like collection of images.

    - `topics.tsv`: id, text and, if the topic has one, its picture (below `images`), separated by
      tabs. Text or picture may be empty.
    - `qrels.txt`: topic, iteration (ignored), image and grade, separated by blanks. Grades below
      0 (TREC's spam) become 0.
    - `images.tsv`, if any: image id and path below `images`, separated by a tab. Without it the
      gallery is every picture below `images`, and an id in the judgments is a picture's path or,
      when none of them is, its file name without the suffix.

    Args:
        source: the folder with `topics.tsv` and `qrels.txt`.
        folder: where the eval set goes.
        images: the folder of pictures. Default: `images` in `source`, else `source`.
    """
    root = data_folder(source, "topics.tsv")
    pictures = image_folder(images, root / "images", root)
    qrels = read_trec_qrels(root / "qrels.txt")
    judged = {image_id for grades in qrels.values() for image_id in grades}
    listed = root / "images.tsv"
    gallery = _listed(listed, str(pictures)) if listed.exists() else _found(pictures, judged)
    return EvalSet(
        name=root.name,
        folder=folder,
        image_root=pictures,
        images=gallery,
        queries=_topics(root / "topics.tsv", str(pictures)),
        qrels=qrels,
        description=f"{root.name}, from TREC's files.",
        licence="see whoever published the files",
        primary_metric="nDCG@10",
    )


def read_trec_qrels(path: Path) -> Qrels:
    """Read judgments in TREC's four columns: topic to image to grade; grades below 0 become 0."""
    qrels: Qrels = {}
    for number, line in read_lines(path):
        try:
            topic, _, image_id, written = line.decode().split()
            grade = max(0, parse_grade(written))
        except ValueError:
            what = "expected topic, iteration, image and a whole number, separated by blanks"
            raise RecordError(path, number, what) from None
        if qrels.setdefault(topic, {}).setdefault(image_id, grade) != grade:
            raise RecordError(
                path, number, "the same topic and image were graded differently above"
            )
    return qrels


def _topics(path: Path, pictures: str) -> list[EvalQuery]:
    topics: dict[str, EvalQuery] = {}
    for number, cells in read_tsv(path):
        topic, text, picture = (cell.strip() for cell in (*cells, "", "")[:3])
        image = inside(pictures, picture) if picture else None
        if picture and image is None:
            raise RecordError(path, number, f"the image path {picture!r} leaves the image root")
        if not topic or len(cells) > 3 or not (text or image):
            what = "expected an id, a text and, where there is one, a picture, separated by tabs"
            raise RecordError(path, number, what)
        if topic in topics:
            raise RecordError(path, number, f"the id {topic!r} stands twice")
        topics[topic] = EvalQuery(topic, image, text or None)
    return list(topics.values())


def _listed(path: Path, pictures: str) -> list[GalleryImage]:
    gallery: dict[str, GalleryImage] = {}
    for number, cells in read_tsv(path):
        if len(cells) != 2 or not cells[0]:
            raise RecordError(path, number, "expected an image id and a path, separated by a tab")
        picture = inside(pictures, cells[1])
        if picture is None:
            raise RecordError(path, number, f"the image path {cells[1]!r} leaves the image root")
        if cells[0] in gallery:
            raise RecordError(path, number, f"the id {cells[0]!r} stands twice")
        gallery[cells[0]] = GalleryImage(cells[0], picture)
    return list(gallery.values())


def _found(pictures: Path, judged: Iterable[str]) -> list[GalleryImage]:
    found = open_gallery(pictures).images
    paths = Names(image.image_id for image in found)
    if not found:
        raise EvalSetError(f"{pictures} holds no pictures; name their folder with --images.")
    if any(paths.find(image_id) is not None for image_id in judged):
        return found
    named = {Path(image.image_id).stem: image for image in found}
    if len(named) < len(found):
        raise EvalSetError(
            f"No judged id is the path of a picture below {pictures}, and some file names stand "
            "twice; list ids and paths in images.tsv."
        )
    return [GalleryImage(name, image.path) for name, image in named.items()]
