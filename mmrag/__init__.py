"""mmrag: composed image retrieval, reranked, measured and explained.

The names below are the public interface; each is imported when it is first used, so that
`import mmrag` and `python -m mmrag --help` need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrag.encoders import list_encoders, load_encoder
    from mmrag.errors import MmragError
    from mmrag.evaluation.eval_set import EvalSet
    from mmrag.gallery import open_gallery
    from mmrag.grid import draw_grid, result_grid, save_grid
    from mmrag.index.image_index import ImageIndex, list_collections
    from mmrag.search import Searcher
    from mmrag.types import Query

__version__ = "0.1.0"
_HOMES = {
    "EvalSet": "mmrag.evaluation.eval_set",
    "ImageIndex": "mmrag.index.image_index",
    "MmragError": "mmrag.errors",
    "Query": "mmrag.types",
    "Searcher": "mmrag.search",
    "draw_grid": "mmrag.grid",
    "list_collections": "mmrag.index.image_index",
    "list_encoders": "mmrag.encoders",
    "load_encoder": "mmrag.encoders",
    "open_gallery": "mmrag.gallery",
    "result_grid": "mmrag.grid",
    "save_grid": "mmrag.grid",
}
__all__ = [
    "EvalSet",
    "ImageIndex",
    "MmragError",
    "Query",
    "Searcher",
    "draw_grid",
    "list_collections",
    "list_encoders",
    "load_encoder",
    "open_gallery",
    "result_grid",
    "save_grid",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmrag' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
