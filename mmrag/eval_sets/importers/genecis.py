"""GeneCIS: a photo, a condition, and 10 or 15 candidates, in four tasks.

Source: S. Vaze, N. Carion, I. Misra: "GeneCIS: A Benchmark for General Conditional Image
Similarity", CVPR 2023; files of github.com/facebookresearch/genecis.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from mmrag.errors import EvalSetError, ImageError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels, read_head
from mmrag.eval_sets.importers.places import data_folder, image_folder
from mmrag.eval_sets.records import Record, read_json_list
from mmrag.images.decode import load_image
from mmrag.types import GalleryImage

TASKS = ("change_attribute", "change_object", "focus_attribute", "focus_object")
# How far a cut-out begins before its box, and exceeds it, in widths and heights of the box.
_DILATION = 0.7


def import_set(
    source: Path, folder: Path, split: str = "change_object", images: Path | None = None
) -> EvalSet:
    """Import one task; the target and the gallery of each entry are the query's candidates.

    The tasks about objects use COCO's val photos of 2017 as they are. Those about attributes use
    parts of Visual Genome's photos: each box is cut out with some surroundings, padded to a black
    square as in the published evaluation, and written into `images` of `folder`.

    Args:
        source: the folder with `genecis/change_object.json` and so on (or `genecis` itself).
        folder: where the eval set goes.
        split: the task, one of `TASKS`.
        images: the photos. Default: `val2017` in `source`, or `VG_100K_all` for attributes.
    """
    if split not in TASKS:
        raise EvalSetError(f"GeneCIS has no task {split!r}; use one of {', '.join(TASKS)}.")
    name = f"genecis-{split.replace('_', '-')}"
    if (folder / "eval_set.json").exists() and read_head(folder).get("name") != name:
        raise EvalSetError(f"{folder} holds another eval set; name another folder.")
    root = data_folder(source, f"{split}.json", "genecis")
    cut = split.endswith("attribute")
    usual = "VG_100K_all" if cut else "val2017"
    photos = image_folder(images, source / usual, source / "coco" / usual)
    pictures = folder.resolve() / "images" if cut else photos
    gallery: dict[str, GalleryImage] = {}
    queries: list[EvalQuery] = []
    qrels: Qrels = {}

    def place(record: Record, value: Any) -> tuple[str, str]:
        if not isinstance(value, dict):
            raise record.error("an image must be an object")
        one = Record(record.path, record.line, value, record.unit)
        return _cut_out(one, photos, pictures) if cut else _coco(one, photos)

    for number, record in enumerate(read_json_list(root / f"{split}.json")):
        others = record.values.get("gallery")
        if not isinstance(others, list) or not others:
            raise record.error("'gallery' must be a list of images")
        _, reference = place(record, record.values.get("reference"))
        target, path = place(record, record.values.get("target"))
        pool = {target: path} | dict(place(record, one) for one in others)
        for image_id, path in pool.items():
            gallery.setdefault(image_id, GalleryImage(image_id, path))
        query_id = f"{number:04d}"
        text = record.required("condition")
        queries.append(EvalQuery(query_id, reference, text, pool=tuple(pool)))
        qrels[query_id] = {target: 1}
    photos_of = "Visual Genome" if cut else "COCO 2017"
    return EvalSet(
        name=name,
        folder=folder,
        image_root=pictures,
        images=list(gallery.values()),
        queries=queries,
        qrels=qrels,
        description=f"GeneCIS, {split.replace('_', ' ')}: a photo and what is alike or changed.",
        licence=f"CC BY-NC 4.0 (annotations); photos: terms of {photos_of} and Flickr",
        source=f"GeneCIS (Vaze, Carion, Misra, CVPR 2023); photos: {photos_of}",
        primary_metric="hit_rate@1",
    )


def _coco(record: Record, photos: Path) -> tuple[str, str]:
    number = record.integer("val_image_id")
    return str(number), str(photos / f"{number:012d}.jpg")


def _cut_out(record: Record, photos: Path, pictures: Path) -> tuple[str, str]:
    """Id and path of a part of a photo; the part is cut out if the photo exists."""
    photo = record.id("image_id")
    box: Any = record.values.get("instance_bbox")
    if not photo.isascii() or not photo.isdigit():
        raise record.error("'image_id' must be a number")
    is_box = isinstance(box, list) and len(box) == 4
    if not is_box or not all(type(value) in (int, float) and value >= 0 for value in box):
        raise record.error("'instance_bbox' must be left, top, width and height")
    name = "-".join([photo, *(f"{value:g}" for value in box)])
    path, whole = pictures / f"{name}.png", photos / f"{photo}.jpg"
    if whole.is_file() and not path.is_file():
        try:
            part = _square(load_image(str(whole)), *map(float, box))
        except ImageError as error:
            raise record.error(f"{whole} cannot be read: {error}") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        part.save(path)
    return name, str(path)


def _square(
    photo: Image.Image, left: float, top: float, width: float, height: float
) -> Image.Image:
    """A box of a photo with its surroundings, in the middle of a black square."""
    x, y = max(0, left - _DILATION * width), max(0, top - _DILATION * height)
    right = min(photo.width, x + (1 + _DILATION) * width)
    bottom = min(photo.height, y + (1 + _DILATION) * height)
    part = photo.convert("RGB").crop((x, y, right, bottom))
    side = max(part.size)
    square = Image.new("RGB", (side, side))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square
