"""A run's ablations as tables."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import pandas as pd

from mmrag.metrics.table import metric_title
from mmrag.runs.frames import p_value
from mmrag.runs.labels import composition_rows
from mmrag.runs.run import Run

# Title, sentence, columns (key and words), and the key of the difference.
_ABLATIONS: dict[str, tuple[str, str, tuple[tuple[str, str], ...], str | None]] = {
    "modality": (
        "Image alone, text alone, both",
        "{queries} queries that have both. A change near zero would mean that one of the two "
        "parts does the work.",
        (("image", "image alone"), ("text", "text alone"), ("composed", "both")),
        "gain",
    ),
    "paraphrases": (
        "In other words",
        "{queries} queries in {wordings} other wordings. The spread is the mean distance between "
        "a query's best and worst wording.",
        (
            ("original", "original"),
            ("paraphrases", "paraphrases"),
            ("worst", "worst wording"),
            ("spread", "spread"),
        ),
        "difference",
    ),
    "index": (
        "The index against exact search",
        "{queries} queries over {vectors} vectors.",
        (("mean", "mean"), ("worst", "worst query")),
        None,
    ),
    "precision": (
        "The lower precision against float32",
        "",
        (("a", "float32"), ("b", "lower precision")),
        None,
    ),
    "answers": (
        "Answers, with and without retrieval",
        "{queries} questions.",
        (("a", "without retrieval"), ("b", "with retrieval")),
        None,
    ),
}


def ablation_tables(run: Run, metrics: Container[str]) -> list[tuple[str, str, pd.DataFrame]]:
    """A run's ablations as title, sentence and table.

    Args:
        run: any.
        metrics: which to show; all measured ones if none of these was measured.
    """
    found = []
    for name, result in run.ablations.items():
        title, sentence, columns, change = _ABLATIONS.get(name, (name, "", (), None))
        if "note" in result:
            found.append((title, str(result["note"]), pd.DataFrame()))
            continue
        measured: dict[str, Any] = result.get("metrics", {})
        rows = []
        for metric in [m for m in measured if m in metrics] or list(measured):
            one = measured[metric]
            row: dict[str, object] = {"metric": metric_title(metric)}
            row |= {words: one[key] for key, words in columns if key in one}
            moved = one.get(change) if change else one
            if isinstance(moved, dict) and "delta" in moved:
                low, high = moved["ci95"]
                row["change"] = f"{moved['delta']:+.3f} [{low:+.3f}, {high:+.3f}]"
                row["p"] = p_value(moved["p"])
            rows.append(row)
        said = sentence.format_map({key: f"{v:,}" for key, v in result.items() if _is_count(v)})
        found.append((title, said, pd.DataFrame(rows)))
        if composed := result.get("composition"):
            found += _composition_tables(composed, metrics)
    return found


def _composition_tables(
    found: Mapping[str, Any], metrics: Container[str]
) -> list[tuple[str, str, pd.DataFrame]]:
    shares = pd.DataFrame(
        {
            "queries that": label,
            "share": "{:.1%} [{:.1%}, {:.1%}]".format(one["mean"], *one["ci95"]),
            "count": one["queries"],
        }
        for label, one in found["shares"].items()
    )
    columns = ["metric", "composition gap", "queries that need both"]
    rows = [(metric_title(m), *cells) for m, *cells in composition_rows(found, metrics)]
    return [
        ("What the queries need", f"By {metric_title(found['metric'])}.", shares),
        (
            "What composition adds",
            "The gap is the share of what whole queries find that the better part alone does not.",
            pd.DataFrame(rows, columns=columns),
        ),
    ]


def _is_count(value: object) -> bool:
    return isinstance(value, int | float)
