"""A gate for continuous integration: conditions on the difference between two runs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as xml

from mmrag.errors import MmragError
from mmrag.metrics.paired import Difference
from mmrag.metrics.table import metric_title
from mmrag.runs.compare import Comparison, comparison_table

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
# The parts of a difference that a condition may name.
PARTS: dict[str, Callable[[Difference], float]] = {
    "delta": lambda one: one.delta,
    "low": lambda one: one.ci95[0],
    "high": lambda one: one.ci95[1],
    "p": lambda one: one.p,
    "holm": lambda one: one.p if one.p_holm is None else one.p_holm,
    "new": lambda one: one.b,
}
_TERM = re.compile(
    rf"(?P<metric>\S+?)(?:\s+(?P<part>{'|'.join(PARTS)}))?\s*(?P<op><=|>=|<|>)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
)
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


@dataclass(frozen=True)
class Term:
    """`metric part op number`, such as "hit_rate@1 high < 0"."""

    metric: str
    part: str
    op: str
    number: float


@dataclass(frozen=True)
class Condition:
    """Terms that must all hold for the gate to fail."""

    text: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Verdict:
    """One condition on one pair: `values` has a number for each of its terms."""

    condition: str
    pair: str
    failed: bool
    values: dict[str, float]

    @property
    def sentence(self) -> str:
        """The findings in words."""
        found = ", ".join(f"{name} {value:+.4f}" for name, value in self.values.items())
        return (
            f"{'FAILED' if self.failed else 'passed'}: {self.condition} ({found}) for {self.pair}"
        )


def parse_condition(text: str) -> Condition:
    """Parse a condition such as "hit_rate@1 < -0.01" or "nDCG@10 < -0.01 and nDCG@10 p < 0.05".

    The difference is the newer run's value minus the baseline's. The metric may be
    followed by `low` or `high` (ends of the difference's 95 % interval), `p`, `holm` (corrected p)
    or `new` (the newer run's value).

    Raises:
        MmragError: not of that form.
    """
    terms = []
    for part in re.split(r"\s+and\s+", text.strip()):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise MmragError(
                f"{part!r} is no condition; write METRIC < NUMBER, such as 'hit_rate@1 < -0.01', "
                f"with one of {', '.join(PARTS)} after the metric where you mean that."
            )
        number = float(match["number"])
        terms.append(Term(match["metric"], match["part"] or "delta", match["op"], number))
    return Condition(text.strip(), tuple(terms))


def judge(comparison: Comparison, conditions: Sequence[Condition]) -> list[Verdict]:
    """Apply every condition to every pair.

    Raises:
        MmragError: a metric that was not compared.
    """
    verdicts = []
    for pair in comparison.pairs:
        labels = [comparison.entries[i].label for i in (pair.b, pair.a)]
        for condition in conditions:
            values, holds = {}, []
            for term in condition.terms:
                if term.metric not in pair.metrics:
                    known = ", ".join(pair.metrics) or "none in common"
                    raise MmragError(
                        f"The runs share no metric {term.metric!r}; they have {known}."
                    )
                value = PARTS[term.part](pair.metrics[term.metric])
                name = term.metric if term.part == "delta" else f"{term.metric} {term.part}"
                values[name] = value
                holds.append(_OPERATORS[term.op](value, term.number))
            name = f"{labels[0]} against {labels[1]}"
            verdicts.append(Verdict(condition.text, name, all(holds), values))
    return verdicts


def markdown(comparison: Comparison, verdicts: Sequence[Verdict]) -> str:
    """The comparison as Markdown, for a pull request."""
    lines = []
    for verdict in verdicts:
        lines.append(f"- {'❌' if verdict.failed else '✅'} {_plain(verdict.sentence)}")
    for pair in comparison.pairs:
        a, b = (_plain(comparison.entries[i].label) for i in (pair.a, pair.b))
        lines += ["", f"{b} against {a}, {pair.queries} queries:", ""]
        lines += [
            "| | base | new | difference | 95 % interval | p | Holm |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, one in pair.metrics.items():
            cells = [f"{one.a:.3f}", f"{one.b:.3f}", f"{one.delta:+.3f}"]
            cells.append(f"{one.ci95[0]:+.3f} to {one.ci95[1]:+.3f}")
            cells += [f"{p:.3f}" for p in (one.p, PARTS["holm"](one))]
            lines.append(f"| {_plain(metric_title(name))} | {' | '.join(cells)} |")
        for name in comparison.diagnostics:
            if name not in pair.metrics:
                both = (comparison.entries[i].summary.overall[name].mean for i in (pair.a, pair.b))
                values = " | ".join(f"{value:.3f}" for value in both)
                lines.append(f"| {_plain(metric_title(name))} | {values} | | | | |")
    lines += ["", *(f"> {_plain(note)}" for note in comparison_table(comparison).notes)]
    return "\n".join(lines).strip() + "\n"


def junit(comparison: Comparison, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JUnit XML; without conditions every metric is a case that passed."""
    if not verdicts:
        verdicts = [
            Verdict(name, comparison.entries[pair.b].label, False, {name: one.delta})
            for pair in comparison.pairs
            for name, one in pair.metrics.items()
        ]
    failed = sum(verdict.failed for verdict in verdicts)
    counts = {"tests": str(len(verdicts)), "failures": str(failed), "errors": "0"}
    suite = xml.Element("testsuite", {"name": "mmrag compare", **counts})
    for verdict in verdicts:
        names = {"classname": _in_xml(verdict.pair), "name": _in_xml(verdict.condition)}
        case = xml.SubElement(suite, "testcase", names)
        if verdict.failed:
            xml.SubElement(case, "failure", {"message": _in_xml(verdict.sentence)})
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Text from data, escaped as Markdown."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", one_line).replace("<", "&lt;")


def _in_xml(text: str) -> str:
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
