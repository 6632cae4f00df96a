"""A folder of class folders: each image is a query for the others of its class."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet, Qrels
from mmrag.galleries.gallery import open_gallery


def import_set(source: Path, folder: Path) -> EvalSet:
    """Make every image a query for the other images of its class; the image itself is left out.

    The class is the first folder below `source`; images beside the class folders are in the
    gallery but in no class. Classes of one image give no query. What `open_gallery` skips (hidden
    files, links that lead out, other kinds of file) is not in the set.

    Args:
        source: `source/CLASS/.../NAME.jpg`.
        folder: where the eval set goes.
    """
    if folder.resolve().is_relative_to(source.resolve()):
        raise EvalSetError(f"{folder} lies in {source}; write the eval set somewhere else.")
    images = open_gallery(source).images
    classes: dict[str, list[str]] = defaultdict(list)
    for image in images:
        name, _, below = image.image_id.partition("/")
        if below:
            classes[name].append(image.image_id)
    queries: list[EvalQuery] = []
    qrels: Qrels = {}
    paths = {image.image_id: image.path for image in images}
    for name, members in classes.items():
        for one in members if len(members) > 1 else []:
            queries.append(EvalQuery(one, paths[one], None, name))
            qrels[one] = {other: 1 for other in members if other != one}
    if not queries:
        raise EvalSetError(f"{source} has no folder with two images or more.")
    return EvalSet(
        name=source.resolve().name,
        folder=folder,
        image_root=source.resolve(),
        images=images,
        queries=queries,
        qrels=qrels,
        description="Same class: every image asks for the others in its folder.",
        licence="that of the pictures in the folder",
        exclude_query_image=True,
    )
