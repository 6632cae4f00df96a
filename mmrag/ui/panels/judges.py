"""Judges: how much each judged, how far they agree, and the conflicts to settle."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mmrag.eval_sets.eval_set import EvalSet
from mmrag.images.thumbnails import data_url
from mmrag.labels.judgments import GRADES, Conflict, Judgment, JudgmentLog
from mmrag.labels.report import JudgePair, JudgeReport, judge_report
from mmrag.ui.doors import not_read_only
from mmrag.ui.markdown import escaped
from mmrag.ui.tables import guarded

_NAMES = {grade: name for name, grade in GRADES.items()}
_SHOWN_CONFLICTS = 10


def judges_panel(folder: Path) -> None:
    """Draw counts, agreement with intervals, and conflicts with a way to settle them."""
    report = judge_report(folder)
    st.text(report.sentence)
    if report.pairs:
        st.dataframe(guarded(_pairs(report)), hide_index=True)
        for pair in report.pairs:
            with st.expander(escaped(f"{pair.first} and {pair.second}: who said what")):
                grades = [_NAMES.get(g, str(g)) for g in pair.agreement.grades]
                rows = [
                    {f"{pair.first} \\ {pair.second}": name, **dict(zip(grades, row, strict=True))}
                    for name, row in zip(grades, pair.agreement.confusion, strict=True)
                ]
                st.dataframe(guarded(rows), hide_index=True)
                if pair.categories:
                    st.dataframe(guarded(_categories(pair)), hide_index=True)
                if pair.examples:
                    st.text("Where they differ, the farthest apart first:")
                    _examples(folder, pair)
    else:
        st.caption("No two judges have judged the same pictures yet.")
    for name, own in report.consistency.items():
        low, high = own.ci95
        st.text(
            f"{name} and its second pass, in another order: kappa {own.kappa:.2f} "
            f"[{low:.2f}, {high:.2f}], {own.observed:.0%} the same, on {own.items}."
        )
    if report.conflicts:
        st.header(f"To settle: {len(report.conflicts)}")
        for conflict in report.conflicts[:_SHOWN_CONFLICTS]:
            _conflict(folder, conflict)


def _pairs(report: JudgeReport) -> list[dict[str, object]]:
    return [
        {
            "judges": f"{pair.first}, {pair.second}",
            "judged by both": pair.agreement.items,
            "the same": round(pair.agreement.observed, 3),
            "kappa": round(pair.agreement.kappa, 3),
            "95 % from": round(pair.agreement.ci95[0], 3),
            "to": round(pair.agreement.ci95[1], 3),
            "weighted kappa": round(pair.weighted.kappa, 3),
        }
        for pair in report.pairs
    ]


def _categories(pair: JudgePair) -> list[dict[str, object]]:
    return [
        {
            "category": name or "(none)",
            "judged by both": own.items,
            "the same": round(own.observed, 3),
            "kappa": round(own.kappa, 3),
            "95 % from": round(own.ci95[0], 3),
            "to": round(own.ci95[1], 3),
        }
        for name, own in pair.categories.items()
    ]


def _examples(folder: Path, pair: JudgePair) -> None:
    eval_set = EvalSet.load(folder)
    queries = {query.query_id: query for query in eval_set.queries}
    images = eval_set.present(one.image_id for one in pair.examples)
    for one in pair.examples:
        query, image = queries.get(one.query_id), images.get(one.image_id)
        asked, found, words = st.columns(3)
        with asked:
            if query and query.image and (src := data_url(query.image)):
                st.image(src)
            st.text((query.text or "") if query else one.query_id)
        with found:
            if image and (src := data_url(image.path)):
                st.image(src)
            st.text(one.image_id)
        with words:
            st.text(f"{pair.first}: {_NAMES.get(one.first, one.first)}")
            st.text(f"{pair.second}: {_NAMES.get(one.second, one.second)}")
            if one.reason:
                st.text(one.reason)


def _conflict(folder: Path, conflict: Conflict) -> None:
    eval_set = EvalSet.load(folder)
    query = next((q for q in eval_set.queries if q.query_id == conflict.query_id), None)
    image = eval_set.present([conflict.image_id]).get(conflict.image_id)
    with st.container(border=True):
        asked, found, words = st.columns(3)
        with asked:
            if query and query.image and (src := data_url(query.image)):
                st.image(src)
            st.text(query.text or "" if query else conflict.query_id)
        with found:
            if image and (src := data_url(image.path)):
                st.image(src)
            st.text(conflict.image_id)
        with words:
            for judge, grade in conflict.grades.items():
                st.text(f"{judge}: {_NAMES.get(grade, grade)}")
            for name, grade in reversed(GRADES.items()):
                key = f"settle {conflict.query_id} {conflict.image_id} {name}"
                if st.button(f"Settle as {name}", key=key):
                    not_read_only("Judging")
                    judges = " and ".join(conflict.grades)[:100]
                    settled = Judgment(
                        conflict.query_id, conflict.image_id, grade, judges, "settled"
                    )
                    JudgmentLog(folder).add([settled])
                    st.rerun()
