"""What a fresh clone has to show: the catalogue, indexed by the encoders that ship with mmrag."""

from __future__ import annotations

from collections.abc import Callable

from mmrag.encoders import SHIPPED_DIR
from mmrag.evaluation.known_sets import CATALOGUE

SHIPPED = ("demo", "demo-clip")


def is_possible() -> bool:
    """Whether the catalogue and the shipped encoders are here, as in a clone they are."""
    shipped = all((SHIPPED_DIR / name / "config.json").is_file() for name in SHIPPED)
    return shipped and (CATALOGUE / "eval_set.json").is_file()


def index_catalogue(
    on_progress: Callable[[float, str], object] | None = None, uri: str | None = None
) -> dict[str, str]:
    """Bring the catalogue's collections up to date, one for each shipped encoder.

    Args:
        on_progress: called with the share that is done, 0 to 1, and what is being done.
        uri: Milvus. Default: `MMRAG_URI`, else the local store.

    Returns:
        Encoder name to collection name.
    """
    from mmrag.encoders import load_encoder
    from mmrag.evaluation.eval_set import EvalSet
    from mmrag.evaluation.gallery_index import index_eval_set

    eval_set = EvalSet.load(CATALOGUE)
    total = len(SHIPPED) * len(eval_set.images)
    done = 0
    collections = {}
    for name in SHIPPED:
        encoder = load_encoder(name)
        what = f"Indexing the catalogue with {name} …"

        def advance(n: int, what: str = what) -> None:
            nonlocal done
            done += n
            if on_progress is not None:
                on_progress(min(1.0, done / total), what)

        advance(0)
        index, _ = index_eval_set(eval_set, encoder, uri, progress=advance)
        with index:
            collections[name] = index.collection
    return collections
