"""Published figures beside our own: same set, split, protocol, encoder and reranker."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mmrag.metrics.metrics import Scores
from mmrag.metrics.summary import Estimate, summarise
from mmrag.metrics.table import metric_title
from mmrag.runs.run import Run
from mmrag.system.text_files import open_text

_FILE = Path(__file__).parent / "published.csv"


@dataclass(frozen=True)
class Published:
    """One figure. `value` is a percentage; `encoder` is mmrag's name, empty where it has none."""

    set: str
    split: str
    protocol: str
    system: str
    encoder: str
    reranker: str
    metric: str
    value: float
    source: str
    date: str
    note: str

    @property
    def commands(self) -> list[str]:
        """Commands that give the figure with official weights; empty where none can."""
        if not (self.encoder and self.protocol):
            return []
        name = f"{self.set}-{self.split}-{self.protocol}"
        lines = [
            f"mmrag eval-set import {self.set} data/{self.set} {name} --split {self.split} "
            f"--protocol {self.protocol}",
            f"mmrag evaluate {name} --encoder {self.encoder} --name {self.encoder}",
        ]
        if self.split.startswith("test"):
            out = f"{name}.json" if self.set == "circo" else name
            lines.append(f"mmrag export {self.encoder} --format {self.set} --out {out}")
        return lines


@dataclass(frozen=True)
class Beside:
    """A published figure and ours, both percentages; `chance` is False where the published
    figure lies outside our 95 % interval.
    """

    published: Published
    here: float
    ci95: tuple[float, float]

    @property
    def chance(self) -> bool:
        """Whether the published figure lies in the interval, to one decimal."""
        low, high = self.ci95
        return low - 0.05 <= self.published.value <= high + 0.05

    @property
    def sentence(self) -> str:
        """ "published 22.51, here 22.49 (21.30 to 23.70)", and whether chance explains it."""
        low, high = self.ci95
        judged = (
            "no more than chance"
            if self.chance
            else "a difference larger than chance: look into it"
        )
        one = self.published
        return (
            f"{metric_title(one.metric)}: published {one.value:.2f} ({one.system}, {one.source}), "
            f"here {self.here:.2f} ({low:.2f} to {high:.2f}), {judged}"
        )


@cache
def published() -> list[Published]:
    """All figures, in the order of the file."""
    with open_text(_FILE, newline="") as file:
        return [
            Published(**{**row, "value": float(row["value"])})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]


def find_published(eval_set: str = "") -> list[Published]:
    """Figures of a benchmark ("cirr"), or of an eval set by its name ("cirr-val-all")."""
    benchmark, _, rest = eval_set.partition("-")
    at = {one: f"-{rest}-".find(f"-{one.replace('_', '-')}-") for one in _splits()}
    split = min((one for one in at if at[one] >= 0), key=at.__getitem__, default="")
    return [one for one in published() if benchmark in ("", one.set) and split in ("", one.split)]


def beside(runs: Run | Sequence[Run]) -> list[Beside]:
    """Published figures beside those of a run, or of the runs on a benchmark's categories.

    Means over categories are compared with means over categories.
    """
    runs = [runs] if isinstance(runs, Run) else runs
    first = runs[0]
    protocol = first.protocol
    if protocol is None or not protocol.benchmark or not all(run.scores for run in runs):
        return []
    estimates: Mapping[str, Estimate] = first.summary.overall
    whole = len(runs) > 1 or protocol.gallery in ("all", "together")
    if protocol.average == "categories":
        estimates = _mean_over(runs) if whole else {}
    encoder = str((first.config.get("encoder") or {}).get("name", ""))
    reranker = str((first.config.get("reranker") or {}).get("name", ""))
    if not encoder:  # An imported run, to which other systems' figures do not belong.
        return []
    return [
        Beside(
            one,
            100 * estimates[one.metric].mean,
            (100 * estimates[one.metric].ci95[0], 100 * estimates[one.metric].ci95[1]),
        )
        for one in find_published(first.eval_set.name)
        if (one.set, one.protocol) == (protocol.benchmark, protocol.name)
        and (one.encoder, one.reranker) == (encoder, reranker)
        and one.metric in estimates
    ]


def published_page() -> str:
    """`docs/published.md`."""
    lines = [
        "# Published figures",
        "",
        "Made from `mmrag/runs/published.csv` by `python -m mmrag.runs.published`. Percentages.",
        "A run of the same set, protocol, encoder and reranker shows them beside its own in",
        "`evaluate`, `compare`, the report and the Runs page. `mmrag published cirr` lists them in",
        "the terminal; [protocols](protocols.md) says how each is asked. Test splits are scored by",
        "the benchmark's server, which takes the file that `export` writes. Where a system's own",
        "publication could not be read, the source is one that repeats its figures.",
    ]
    groups: dict[tuple[str, str, str], list[Published]] = {}
    for one in published():
        groups.setdefault((one.set, one.split, one.protocol), []).append(one)
    for (name, split, protocol), rows in groups.items():
        lines += ["", f"## {name} {split}, {protocol or 'no protocol known'}", ""]
        lines += ["| system | metric | value | date | source |", "| --- | --- | --- | --- | --- |"]
        for one in rows:
            source = f"{one.source}. {one.note}" if one.note else one.source
            cells = [one.system, metric_title(one.metric), str(one.value), one.date, source]
            lines.append(f"| {' | '.join(cells)} |")
        for system, commands in {one.system: one.commands for one in rows}.items():
            if commands:
                lines += ["", f"{system}:", "", *(f"    {command}" for command in commands)]
    return "\n".join(lines) + "\n"


def _splits() -> set[str]:
    return {one.split for one in published()}


def _mean_over(runs: Sequence[Run]) -> Mapping[str, Estimate]:
    """Means over categories, or over runs on one category each, with intervals."""
    if len(runs) == 1:
        return runs[0].summary.category_mean
    scores = [run.scores[run.stage] for run in runs]
    shared = [name for name in scores[0].values if all(name in one.values for one in scores)]
    together = Scores(
        [query_id for one in scores for query_id in one.query_ids],
        [run.eval_set.name for run in runs for _ in run.scores[run.stage].query_ids],
        [() for one in scores for _ in one.query_ids],
        {name: np.concatenate([one.values[name] for one in scores]) for name in shared},
    )
    return summarise(together).category_mean


if __name__ == "__main__":
    print(published_page(), end="")
