"""Runs side by side: paired differences with corrected p-values, and one table of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.errors import MmragError
from mmrag.metrics.metrics import Scores
from mmrag.metrics.paired import Difference, common_rows, compare_scores, select
from mmrag.metrics.resolution import Resolution, deviation_of, resolution
from mmrag.metrics.statistics import holm
from mmrag.metrics.summary import Estimate, Summary, summarise
from mmrag.metrics.table import (
    METRICS,
    find_metric,
    higher_is_better,
    is_diagnostic,
    leading_metrics,
)
from mmrag.runs.labels import labels_of
from mmrag.runs.run import RERANKED, RETRIEVAL, Run
from mmrag.runs.store import RunStore
from mmrag.runs.together import ALL, Spread, load_together, spread_of
from mmrag.system.shipped import WEAK_ON_PURPOSE
from mmrag.system.words import counted

if TYPE_CHECKING:
    import pandas as pd

# Settings that decide which queries are asked.
_SAMPLE = ("queries", "limit", "seed")
# A p-value below this is called more than chance.
_CHANCE = 0.05
# What can tell runs of one name apart, and its wording, the most telling first.
_TELLING: tuple[tuple[Callable[[Run], Any], str], ...] = (
    (lambda run: run.config.get("rerank_k"), "reranks {}"),
    (lambda run: (run.config.get("reranker") or {}).get("presentation"), "{}"),
    (lambda run: run.config.get("k"), "k = {}"),
    (lambda run: run.total_queries, "{} queries"),
    (lambda run: run.config.get("query_template"), "asks “{}”"),
    (lambda run: (run.config.get("encoder") or {}).get("precision"), "{}"),
    (lambda run: (run.config.get("encoder") or {}).get("fingerprint"), "weights {:.6}"),
    (lambda run: (run.config.get("index") or {}).get("collection"), "{}"),
    (lambda run: run.created[:16].replace("T", " "), "{}"),
    (lambda run: run.run_id, "{}"),
)


@dataclass(frozen=True)
class Entry:
    """A run at one of its stages.

    `only` leaves out all other queries; `apart` tells it from others of its name.
    """

    run: Run
    stage: str
    only: frozenset[str] | None = None
    apart: str = ""

    @property
    def label(self) -> str:
        """The run's name, with the stage unless it is the last."""
        stage = "" if self.stage == self.run.stage else f" ({self.stage})"
        return self.run.name + stage + (f" · {self.apart}" if self.apart else "")

    @property
    def key(self) -> str:
        """A key shared by entries that show the same."""
        run = self.run
        made_of = run.config.get("together", {}).get("runs", [run.run_id, run.finished])
        return f"{made_of}|{self.stage}|{hash(self.only)}"

    @property
    def scores(self) -> Scores:
        """Per-query metrics.

        Raises:
            MmragError: there are none yet.
        """
        if self.stage not in self.run.scores:
            raise MmragError(
                f"Run {self.run.run_id} ({self.label}) has no metrics yet: it is "
                f"{self.run.state}. The same evaluation, started again, goes on with it."
            )
        scores = self.run.scores[self.stage]
        return scores if self.only is None else select(scores, dict.fromkeys(self.only))

    @property
    def summary(self) -> Summary:
        """Means with intervals."""
        if self.only is None:
            return self.run.summaries[self.stage]
        return summarise(self.scores, int(self.run.config.get("seed", 0)))


@dataclass(frozen=True)
class QueryChange:
    """A query whose metric changed: `delta` is b - a."""

    query_id: str
    a: float
    b: float
    delta: float


@dataclass(frozen=True)
class PairComparison:
    """Two entries, named by their place in `Comparison.entries`.

    `gains` and `losses` hold the queries whose primary metric improved and worsened most, at most
    ten each. `resolution` is what this many queries can show of the primary metric,
    `queries_needed` how many would detect the difference seen; None where there is none.
    """

    a: int
    b: int
    metrics: dict[str, Difference]
    gains: list[QueryChange]
    losses: list[QueryChange]
    queries: int
    resolution: Resolution | None = None
    queries_needed: int | None = None

    def resolved(self, metric: str) -> str:
        """What this many queries show of the primary metric; "" where the runs answer alike."""
        found, needed = self.resolution, self.queries_needed
        if found is None or not found.deviation:
            return ""
        more = ""
        if needed is not None:
            more = f"; one as large as the one seen takes about {counted(needed, 'query')}"
        return (
            f"{counted(found.queries, 'query finds', 'queries find')} a difference of "
            f"{found.detectable:.3f} in {metric} with a probability of 80 % (p < 0.05){more}. "
            f"The smallest p that they can give is {found.smallest_p:.2g}."
        )


@dataclass(frozen=True)
class Comparison:
    """Every compared pair; `p_holm` is corrected over all their metrics."""

    entries: list[Entry]
    primary_metric: str
    pairs: list[PairComparison]
    notes: list[str]

    def _repr_html_(self) -> str:
        from mmrag import notebook

        return notebook.comparison_html(self)

    def to_pandas(self) -> pd.DataFrame:
        """The differences, one pair and metric a row."""
        from mmrag import notebook

        return notebook.differences_frame(self)

    @property
    def tests(self) -> int:
        """Number of p-values corrected together."""
        return sum(len(pair.metrics) for pair in self.pairs)

    @property
    def diagnostics(self) -> list[str]:
        """Metrics of all runs that only say how far the others can be trusted: `Judged@10`."""
        first, *others = (entry.scores.values for entry in self.entries)
        return [m for m in first if is_diagnostic(m) and all(m in one for one in others)]


def told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries with distinct labels, as short as possible."""
    found = [replace(entry, apart="") for entry in entries]
    for look, words in _TELLING:
        labels = Counter(entry.label for entry in found)
        for label in [label for label, count in labels.items() if count > 1]:
            alike = [i for i, entry in enumerate(found) if entry.label == label]
            values = [look(found[i].run) for i in alike]
            if len(set(map(str, values))) < 2:
                continue
            for i, value in zip(alike, values, strict=True):
                if value is not None:
                    said = [found[i].apart, words.format(value)]
                    found[i] = replace(found[i], apart=", ".join(filter(None, said)))
    return found


def open_entry(store: RunStore, reference: str) -> Entry:
    """Open a run by reference (see `RunStore.find`); ":retrieval" or ":reranked" names its stage.

    "all:NAME" is all runs of that name that belong together, as one; see `runs.together`.
    """
    name, colon, stage = reference.rpartition(":")
    if not colon or stage not in (RETRIEVAL, RERANKED):
        name, stage = reference, ""
    several = name.startswith(ALL)
    run = load_together(store, name.removeprefix(ALL)) if several else store.load(name)
    stage = stage or run.stage
    run.check_stage(stage)
    return Entry(run, stage)


def compare_runs(
    runs: Sequence[Run | Entry],
    *,
    metrics: Sequence[str] | None = None,
    all_pairs: bool = False,
    seed: int = 0,
    mixed_protocols: bool = False,
    label: str | None = None,
) -> Comparison:
    """Compare runs query by query.

    Args:
        runs: loaded runs (at their last stage) or entries, two or more.
        metrics: which to compare; default: all that the runs share.
        all_pairs: every pair instead of each against the first.
        seed: of the resamples.
        mixed_protocols: also pair runs of different protocols, by query id.
        label: one of `labels.LABELS`: only queries that the first run with `--ablate-modality`
            gave this label.

    Raises:
        MmragError: fewer than two, different eval sets or protocols, or no query in common.
    """
    entries = told_apart([one if isinstance(one, Entry) else Entry(one, one.stage) for one in runs])
    if len(entries) < 2:
        raise MmragError("A comparison needs two runs or more.")
    _check_same_set(entries, mixed_protocols)
    if label is not None:
        entries = _labelled(entries, label)
    chosen = [
        m for m in entries[0].scores.values if (m in metrics if metrics else not is_diagnostic(m))
    ]
    for name in metrics or ():
        if not all(name in entry.scores.values for entry in entries):
            raise MmragError(f"Not every run has the metric {name!r}.")
    primary = entries[0].run.eval_set.primary_metric
    primary = primary if primary in chosen else next(iter(chosen), primary)
    n = len(entries)
    places = [(i, j) for i in range(n if all_pairs else 1) for j in range(i + 1, n)]
    pairs = [_compare(entries, a, b, chosen, primary, seed) for a, b in places]
    corrected = iter(holm([d.p for pair in pairs for d in pair.metrics.values()]))
    pairs = [
        replace(
            pair,
            metrics={m: replace(d, p_holm=next(corrected)) for m, d in pair.metrics.items()},
        )
        for pair in pairs
    ]
    return Comparison(entries, primary, pairs, _notes(entries, pairs))


@dataclass(frozen=True)
class TableRow:
    """One run at one stage. Latencies are milliseconds per query; None where nothing was timed.

    They come from queries asked one by one; in runs of earlier versions, from shares of batches.

    `differences` is against the table's first row; empty in that row. `warning` says why the
    metrics of a row cannot be relied on, "" where they can. `spread` is over the runs of a row
    that stands for several.
    """

    run_id: str
    label: str
    stage: str
    state: str
    queries: int
    metrics: dict[str, Estimate]
    p50_ms: float | None
    p95_ms: float | None
    cost_usd: float | None
    cost_per_query_usd: float | None
    differences: dict[str, Difference]
    warning: str = ""
    spread: dict[str, Spread] = field(default_factory=dict)

    def spread_lines(self, primary: str) -> list[str]:
        """The spread of the primary and the leading metrics, in words."""
        return [
            f"{name} over {over.runs} runs: {over.lowest:.3f} to {over.highest:.3f}, standard "
            f"deviation {over.sd:.3f}"
            for name in dict.fromkeys((primary, *leading_metrics()))
            if (over := self.spread.get(name)) is not None
        ]


@dataclass(frozen=True)
class RunTable:
    """Runs as rows, `metrics` as columns, the primary metric first."""

    metrics: list[str]
    primary_metric: str
    rows: list[TableRow]
    notes: list[str]

    @property
    def tests(self) -> int:
        """Number of p-values corrected together."""
        return sum(len(row.differences) for row in self.rows)


def run_table(
    runs: Sequence[Run | Entry], metrics: Sequence[str] | None = None, seed: int = 0
) -> RunTable:
    """Put runs on the same eval set into one table, with differences from the first.

    p-values are corrected over all rows and metrics of the table by Holm's method.

    Raises:
        MmragError: different eval sets.
    """
    entries = [one if isinstance(one, Entry) else Entry(one, one.stage) for one in runs]
    if len(entries) > 1:
        return comparison_table(compare_runs(entries, metrics=metrics, seed=seed))
    (entry,) = entries
    wanted = [m for m in entry.scores.values if metrics is None or m in metrics]
    shared = list(dict.fromkeys([*wanted, *filter(is_diagnostic, entry.scores.values)]))
    primary, row = entry.run.eval_set.primary_metric, _row(entry, {})
    return RunTable(shared, primary, [row], [f"{said}." for said in row.spread_lines(primary)])


def comparison_table(comparison: Comparison) -> RunTable:
    """The table of `run_table` for a finished comparison."""
    against = {pair.b: pair.metrics for pair in comparison.pairs if pair.a == 0}
    rows = [_row(entry, against.get(i, {})) for i, entry in enumerate(comparison.entries)]
    primary = comparison.primary_metric
    shown = list(comparison.pairs[0].metrics)
    shown += [name for name in comparison.diagnostics if name not in shown]
    resolved = [
        f"{comparison.entries[pair.b].label} against {comparison.entries[pair.a].label}: {said}"
        for pair in comparison.pairs
        if (said := pair.resolved(primary))
    ]
    spread = [f"{row.label}: {said}." for row in rows for said in row.spread_lines(primary)]
    return RunTable(shown, primary, rows, [*comparison.notes, *resolved, *spread])


def stage_entries(run: Run) -> list[Entry]:
    """Split a run into its stages: retrieval and, if there is one, the reranked ranking."""
    return [Entry(run, stage) for stage in (RETRIEVAL, RERANKED) if stage in run.scores]


def _row(entry: Entry, differences: dict[str, Difference]) -> TableRow:
    run, summary = entry.run, entry.summary
    reranked = entry.stage == RERANKED
    times = run.timings_ms
    if not reranked and "rerank" in times:
        # Without the last part: the stages' own percentiles cannot be subtracted.
        times = run.stage_timings(RETRIEVAL)
    total = _latency(run, reranked) or times.get("total")
    cost = run.stage_cost(entry.stage) if total else None
    finished = run.finished_queries
    return TableRow(
        run.run_id,
        entry.label,
        entry.stage,
        run.state,
        summary.queries,
        summary.overall,
        total["p50"] if total else None,
        total["p95"] if total else None,
        cost,
        cost / finished if cost is not None and finished else None,
        differences,
        " ".join(filter(None, (run.warning if reranked else "", run.label_note))),
        spread_of(run, entry.stage),
    )


def _latency(run: Run, reranked: bool) -> dict[str, float] | None:
    """Latency of queries asked one by one, plus the time that models took, measured per query."""
    found = run.latency_ms.get("total")
    if found is None:
        return None
    found = {name: found[name] for name in ("p50", "p95")}
    parts = [("rewrite", RETRIEVAL), *([("rerank", RERANKED)] if reranked else [])]
    for part, stage in parts:
        ranked = run.rankings.get(stage, {}).values()
        if times := [one.timings_ms[part] for one in ranked if part in one.timings_ms]:
            more = {name: float(np.percentile(times, int(name[1:]))) for name in found}
            found = {name: ms + more[name] for name, ms in found.items()}
    return found


def _compare(
    entries: Sequence[Entry], a: int, b: int, metrics: Sequence[str], primary: str, seed: int
) -> PairComparison:
    first, second = entries[a].scores, entries[b].scores
    common, rows_a, rows_b = common_rows(first, second)
    if not common:
        raise MmragError(
            f"{entries[a].label!r} and {entries[b].label!r} have no scored query in common."
        )
    changes = []
    found = needed = None
    if primary in first.values and primary in second.values:
        values = first.values[primary][rows_a], second.values[primary][rows_b]
        pairs = zip(*values, strict=True)
        if defined := int(np.sum(~np.isnan(values[0] + values[1]))):
            found = resolution(defined, deviation_of(*values))
            needed = found.queries_needed(float(np.nanmean(values[1] - values[0])))
        changes = [
            QueryChange(query_id, float(x), float(y), float(y - x))
            for query_id, (x, y) in zip(common, pairs, strict=True)
            if x != y and not (x != x or y != y)
        ]
    sign = 1 if higher_is_better(primary) else -1
    changes.sort(key=lambda change: (-sign * change.delta, change.query_id))
    return PairComparison(
        a,
        b,
        compare_scores(first, second, metrics, seed),
        [change for change in changes if sign * change.delta > 0][:10],
        [change for change in reversed(changes) if sign * change.delta < 0][:10],
        len(common),
        found,
        needed,
    )


def _labelled(entries: Sequence[Entry], label: str) -> list[Entry]:
    found = next((labels for entry in entries if (labels := labels_of(entry.run))), None)
    if found is None:
        raise MmragError(
            "None of the runs has labels; `mmrag evaluate EVAL_SET --ablate-modality` gives them."
        )
    only = frozenset(query_id for query_id, one in found.items() if one == label)
    if not only:
        raise MmragError(f"No query is labelled {label!r}.")
    return [replace(entry, only=only) for entry in entries]


def _check_same_set(entries: Sequence[Entry], mixed_protocols: bool) -> None:
    first = entries[0]
    for entry in entries[1:]:
        a, b = first.run.eval_set, entry.run.eval_set
        if _mixed(first, entry):
            if mixed_protocols:
                continue
            raise MmragError(
                f"{first.label!r} and {entry.label!r} were made by different protocols "
                f"({_protocol(first)} and {_protocol(entry)}), so their numbers are no measure of "
                "the encoders; --mixed-protocols pairs their queries nevertheless."
            )
        if a.labels_sha256 != b.labels_sha256:
            raise MmragError(
                f"{first.label!r} and {entry.label!r} were made on different eval sets "
                f"({a.name} {a.version} and {b.name} {b.version}, with other "
                "queries or judgments), so their numbers cannot be compared."
            )


def _mixed(a: Entry, b: Entry) -> bool:
    """Whether the runs differ in protocol; runs from before protocols match if their sets do."""
    one, other = a.run.protocol, b.run.protocol
    if one is None or other is None:
        return one is not other and a.run.eval_set.labels_sha256 != b.run.eval_set.labels_sha256
    return one != other and one.benchmark == other.benchmark


def _protocol(entry: Entry) -> str:
    return entry.run.protocol.title if entry.run.protocol else "that of the eval set"


def _judged_notes(pairs: Iterable[tuple[Entry, Entry]]) -> list[str]:
    """Notes on sides of whose hits fewer were judged than of the other's, one for each."""
    worst: dict[tuple[str, str], tuple[float, float]] = {}
    for a, b in pairs:
        names = [name for name in a.scores.values if find_metric(name) is METRICS["Judged"]]
        for name, one in compare_scores(a.scores, b.scores, names).items() if names else ():
            if one.p < _CHANCE and one.delta:
                fewer, low, high = (a, one.a, one.b) if one.delta > 0 else (b, one.b, one.a)
                seen = worst.get((fewer.label, name), (low, high))
                worst[fewer.label, name] = (low, max(high, seen[1]))
    return [
        f"Fewer hits of {label} were judged ({name} {low:.2f}, against {high:.2f}), "
        "and what was not judged counts as wrong. Bpref and nDCG(judged_only=True)@10 "
        "leave it out; `eval-set judge` judges it."
        for (label, name), (low, high) in worst.items()
    ]


def _picture_notes(entries: Sequence[Entry]) -> list[str]:
    """Notes on changes in pictures that several runs saw; the runs may ask different queries."""
    refs = [entry.run.eval_set for entry in entries]
    if any(ref.gallery_sha256 is None and ref.pictures_sha256 for ref in refs):
        # A run of an earlier version: one hash for all pictures of all queries asked.
        asked = {json.dumps([e.run.config.get(key) for key in _SAMPLE]) for e in entries}
        seen = {ref.pictures_sha256 for ref in refs} - {None}
        if len(asked) > 1 or len(seen) < 2:
            return []
        return ["The runs saw different pictures: the files changed between them."]
    notes = []
    if len({ref.gallery_sha256 for ref in refs} - {None}) > 1:
        notes.append("The runs saw different galleries: files of it changed between them.")
    pictures: dict[str, set[str]] = {}
    for entry in entries:
        for query_id, one in entry.run.rankings.get(RETRIEVAL, {}).items():
            if "picture" in one.details:
                pictures.setdefault(query_id, set()).add(str(one.details["picture"]))
    changed = sum(len(hashes) > 1 for hashes in pictures.values())
    if changed:
        notes.append(
            f"The runs saw different pictures of {changed} "
            f"{'query' if changed == 1 else 'queries'}: the files changed between them."
        )
    return notes


def _together_notes(run: Run) -> list[str]:
    return run.notes if spread_of(run, run.stage) else []


def _notes(entries: Sequence[Entry], pairs: Sequence[PairComparison]) -> list[str]:
    notes = _picture_notes(entries)
    notes += [f"{entry.label}: {n}" for entry in entries for n in _together_notes(entry.run)]
    if len({entry.run.config.get("k") for entry in entries}) > 1:
        notes.append("The runs keep different numbers of results, which shows in RR and mAP.")
    mixed = [entry for entry in entries[1:] if _mixed(entries[0], entry)]
    if mixed:
        names = dict.fromkeys(_protocol(entry) for entry in (entries[0], *mixed))
        notes.append(
            f"The protocols differ ({', '.join(names)}): queries are paired by their ids, and a "
            "difference is one of protocols as much as of encoders."
        )
    for entry in entries:
        if entry.run.state != "complete":
            notes.append(f"{entry.label} is {entry.run.state}.")
        if entry.run.label_note:
            notes.append(f"{entry.label}: {entry.run.label_note} The metrics are by these labels.")
        if entry.stage == RERANKED and entry.run.warning:
            notes.insert(0, f"{entry.label}: {entry.run.warning}")
    encoders = {(entry.run.config.get("encoder") or {}).get("name") for entry in entries}
    notes += [note for weak, note in WEAK_ON_PURPOSE.items() if weak <= encoders]
    notes += _judged_notes([(entries[pair.a], entries[pair.b]) for pair in pairs])
    for pair in pairs:
        most = max(len(entries[i].scores.query_ids) for i in (pair.a, pair.b))
        if pair.queries < most:
            notes.append(
                f"{entries[pair.a].label} and {entries[pair.b].label} are compared on the "
                f"{counted(pair.queries, 'query', 'queries')} that both have."
            )
    return notes
