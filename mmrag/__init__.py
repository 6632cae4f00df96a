"""mmrag: composed image retrieval, reranked, measured and explained.

The names below are the public interface; each is imported when it is first used, so that
`import mmrag` and `mmrag --help` need no torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Read by torch's OpenMP library when torch is first imported. Threads that busy-wait take cores
# from those that decode images; those that sleep at once wake late (bench/NOTES.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# oneDNN keeps code for each shape it has seen, by default up to 1,024: hundreds of megabytes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

from mmrag.version import __version__

if TYPE_CHECKING:
    from mmrag.encoders import list_encoders, load_encoder
    from mmrag.errors import MmragError
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.evaluation.evaluate import evaluate
    from mmrag.evaluation.gallery_index import index_eval_set
    from mmrag.galleries.gallery import open_gallery
    from mmrag.images.grid import draw_grid, result_grid, save_grid
    from mmrag.index.image_index import ImageIndex
    from mmrag.index.milvus_collection import list_collections
    from mmrag.rerank import list_rerankers, load_reranker
    from mmrag.runs.compare import compare_runs, run_table
    from mmrag.runs.importing import import_run
    from mmrag.runs.store import RunStore
    from mmrag.search.searcher import Searcher
    from mmrag.types import Query

_HOMES = {
    "EvalSet": "mmrag.eval_sets.eval_set",
    "ImageIndex": "mmrag.index.image_index",
    "MmragError": "mmrag.errors",
    "Query": "mmrag.types",
    "RunStore": "mmrag.runs.store",
    "Searcher": "mmrag.search.searcher",
    "compare_runs": "mmrag.runs.compare",
    "draw_grid": "mmrag.images.grid",
    "evaluate": "mmrag.evaluation.evaluate",
    "import_run": "mmrag.runs.importing",
    "index_eval_set": "mmrag.evaluation.gallery_index",
    "list_collections": "mmrag.index.milvus_collection",
    "list_encoders": "mmrag.encoders",
    "list_rerankers": "mmrag.rerank",
    "load_encoder": "mmrag.encoders",
    "load_reranker": "mmrag.rerank",
    "open_gallery": "mmrag.galleries.gallery",
    "result_grid": "mmrag.images.grid",
    "run_table": "mmrag.runs.compare",
    "save_grid": "mmrag.images.grid",
}
__all__ = [
    "EvalSet",
    "ImageIndex",
    "MmragError",
    "Query",
    "RunStore",
    "Searcher",
    "__version__",
    "compare_runs",
    "draw_grid",
    "evaluate",
    "import_run",
    "index_eval_set",
    "list_collections",
    "list_encoders",
    "list_rerankers",
    "load_encoder",
    "load_reranker",
    "open_gallery",
    "result_grid",
    "run_table",
    "save_grid",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmrag' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
