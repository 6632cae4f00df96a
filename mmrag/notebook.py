"""Results as shown in a notebook, and as data frames; data is never markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from html import escape
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from mmrag.images.thumbnails import data_url
from mmrag.system.words import counted
from mmrag.types import Hit

if TYPE_CHECKING:
    import pandas as pd

    from mmrag.encoders.encoder import EncoderInfo
    from mmrag.eval_sets.eval_set import EvalSet
    from mmrag.galleries.gallery import Gallery
    from mmrag.runs.compare import Comparison
    from mmrag.runs.run import Run
    from mmrag.system.jobs import Progress
    from mmrag.types import ImageSource, SearchResult

_SIDE = 140
_FEW = 12


def search_result_html(result: SearchResult) -> str:
    """The query, then the hits with place, score and description."""
    query = result.query
    asked: list[ImageSource | None] = [*query.images] or [None]
    cells = [_tile(image, "Query", query.text or "") for image in asked] + [
        _tile(hit.path, f"{hit.rank}. {hit.score:.3f}", hit.text or hit.image_id)
        for hit in result.hits
    ]
    told = list(result.notes)
    told += [result.explanation] if result.explanation else []
    if result.rerank is not None:
        told.append(f"Reranked by {result.rerank.reranker}: {result.rerank.status}.")
    return _tiles(cells) + _sentences(told)


def gallery_html(gallery: Gallery) -> str:
    """The number of pictures, and the first ones."""
    some = [_tile(image.path, image.image_id, image.text) for image in gallery.images[:_FEW]]
    left_out = f", {len(gallery.skipped):,} left out" if gallery.skipped else ""
    return _sentences([f"{counted(len(gallery.images), 'picture')}{left_out}"]) + _tiles(some)


def eval_set_html(eval_set: EvalSet) -> str:
    """Its contents, and its first queries."""
    paths = {image.image_id: image.path for image in eval_set.images}
    some = [
        _tile(query.image, query.query_id, query.text or "") for query in eval_set.queries[:_FEW]
    ]
    sizes = (
        f"{eval_set.name}: {counted(len(eval_set.queries), 'query')} over "
        f"{counted(len(paths), 'picture')}"
    )
    return _sentences([sizes]) + _tiles(some)


def run_html(run: Run) -> str:
    """Its metrics with intervals, stage by stage."""
    rows = [
        {
            "stage": stage,
            "metric": metric,
            "mean": f"{found.mean:.3f}",
            "95 % interval": _interval(found.ci95, ".3f"),
        }
        for stage, summary in run.summaries.items()
        for metric, found in summary.overall.items()
    ]
    head = f"{run.name} ({run.run_id}) on {run.eval_set.name}: {run.state}"
    return _sentences([head]) + _table(rows) + _sentences(run.notes)


def comparison_html(comparison: Comparison) -> str:
    """Every difference with its interval and p-value."""
    titles = [
        f"{one.run.name} ({one.stage})" + (f" · {one.apart}" if one.apart else "")
        for one in comparison.entries
    ]
    rows = [
        {
            "from": titles[pair.a],
            "to": titles[pair.b],
            "metric": metric,
            "difference": f"{found.delta:+.3f}",
            "95 % interval": _interval(found.ci95, "+.3f"),
            "p (Holm)": _p_value(found.p if found.p_holm is None else found.p_holm),
        }
        for pair in comparison.pairs
        for metric, found in pair.metrics.items()
    ]
    return _table(rows) + _sentences(comparison.notes)


def encoder_html(info: EncoderInfo) -> str:
    """Its size, device and licence."""
    return _table(
        [
            {
                "encoder": info.name,
                "dimensions": info.dim,
                "device": info.device,
                "precision": info.precision,
                "parameters": f"{info.parameters:,}",
                "licence": info.licence,
            }
        ]
    )


class StageBars:
    """`on_progress` of `evaluate`: a bar for each stage, as the notebook draws bars."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __call__(self, progress: Progress) -> None:
        """Move the bar of this stage."""
        if self._bar is None or self._bar.desc != progress.stage:
            self._bar = tqdm(total=progress.total, desc=progress.stage, unit="query")
        self._bar.update(progress.done - self._bar.n)
        if progress.done == progress.total:
            self._bar.close()


def hits_frame(result: SearchResult) -> pd.DataFrame:
    """One row per hit."""
    import pandas as pd

    columns = [field.name for field in fields(Hit)]
    return pd.DataFrame([vars(hit) for hit in result.hits], columns=columns)


def queries_frame(eval_set: EvalSet) -> pd.DataFrame:
    """One row per query, with the ids of its right images."""
    import pandas as pd

    right = {
        query_id: [image_id for image_id, grade in judged.items() if grade > 0]
        for query_id, judged in eval_set.qrels.items()
    }
    rows = [{**vars(one), "relevant": right.get(one.query_id, [])} for one in eval_set.queries]
    return pd.DataFrame(rows)


def scores_frame(run: Run) -> pd.DataFrame:
    """One row per stage and query, one column per metric."""
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "stage": stage,
                "query_id": scores.query_ids,
                "category": scores.categories,
                **scores.values,
            }
        )
        for stage, scores in run.scores.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def differences_frame(comparison: Comparison) -> pd.DataFrame:
    """One row per pair of runs and metric."""
    import pandas as pd

    rows = [
        {
            "from": comparison.entries[pair.a].run.run_id,
            "to": comparison.entries[pair.b].run.run_id,
            "metric": metric,
            **asdict(found),
        }
        for pair in comparison.pairs
        for metric, found in pair.metrics.items()
    ]
    return pd.DataFrame(rows)


def _interval(ci95: tuple[float, float], digits: str) -> str:
    return f"[{ci95[0]:{digits}}, {ci95[1]:{digits}}]"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _sentences(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _tile(picture: Any, title: str, text: str) -> str:
    url = None if picture is None else data_url(picture)
    shown = f'<img src="{url}" style="max-width:{_SIDE}px;max-height:{_SIDE}px">' if url else ""
    return (
        f'<figure style="display:inline-block;width:{_SIDE}px;margin:4px">{shown}'
        f"<figcaption><b>{escape(title)}</b><br>{escape(text[:200])}</figcaption></figure>"
    )


def _tiles(tiles: Iterable[str]) -> str:
    return f"<div>{''.join(tiles)}</div>"


def _table(rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
