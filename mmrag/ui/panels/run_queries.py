"""Queries that differ between two runs, and one query's stored rankings side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.eval_sets.templates import templated
from mmrag.images.thumbnails import data_url
from mmrag.metrics.table import higher_is_better, metric_title
from mmrag.runs import frames
from mmrag.runs.compare import Entry
from mmrag.runs.labels import ALONE, labels_of
from mmrag.runs.run import RETRIEVAL
from mmrag.ui import resources, run_charts, url
from mmrag.ui.picture_grid import Tile, picture_grid
from mmrag.ui.tables import guarded

SHOWN = 8
MISSED = 12
# Longer lists have no pictures.
PICTURES = 120
GROUPS = {
    "all": "All",
    "lost": "Lost",
    "gained": "Gained",
    "same": "Same",
    "failed": "No right image",
}


def queries_panel(entries: list[Entry], metric: str, eval_set: EvalSet | None) -> None:
    """Draw the queries of one entry, or how they differ between two, and one query."""
    a = b = entries[0]
    if len(entries) > 1:
        labels = [entry.label for entry in entries]
        with st.container(horizontal=True):
            first = st.selectbox(
                "From", range(len(labels)), format_func=labels.__getitem__, key="from"
            )
            second = st.selectbox(
                "To", range(len(labels)), index=1, format_func=labels.__getitem__, key="to"
            )
        a, b = entries[first], entries[second]
    else:
        st.caption("Choose two runs, or one with reranking, to see which queries it helped.")
    frame = frames.query_differences(a, b, metric)
    if eval_set is not None:
        frame = frames.with_ranks(frame, a, b, eval_set)
    sign = 1 if higher_is_better(metric) else -1
    changed = frame[frame["change"] != 0]
    groups = {
        "all": frame,
        "lost": frame[sign * frame["change"] < 0].iloc[::-1],
        "gained": frame[sign * frame["change"] > 0],
        "same": frame[frame["change"] == 0],
    }
    if "rank after" in frame:
        groups["failed"] = frame[frame["rank after"].isna()]
    if a is not b:
        st.caption(
            f"{metric_title(metric)}: {len(groups['gained'])} queries gained, "
            f"{len(groups['lost'])} lost, {len(groups['same'])} same"
        )
    if not changed.empty:
        _bars(changed, metric)
    if eval_set is not None:
        _table([a, b] if a is not b else [a], eval_set, groups, metric)


def _bars(changed: pd.DataFrame, metric: str) -> None:
    """Draw a bar for each changed query; a click near one opens its query below."""
    picked = alt.selection_point(name="bar", fields=["query"], nearest=True)
    event: Any = st.altair_chart(
        run_charts.query_changes(changed, metric).add_params(picked),
        width="stretch",
        key="bars",
        on_select="rerun",
        selection_mode="bar",
    )
    clicked = [str(one.get("query")) for one in event.selection.get("bar") or []]
    if clicked and clicked != st.session_state.get("bar"):
        st.session_state.changed, st.session_state.drill = "all", clicked[0]
        # The table is reset, with this query chosen.
        st.session_state.bars_clicked = st.session_state.get("bars_clicked", 0) + 1
    st.session_state.bar = clicked


@st.fragment
def _table(
    entries: list[Entry], eval_set: EvalSet, groups: dict[str, pd.DataFrame], metric: str
) -> None:
    """Draw the queries to choose from, and below them the chosen one."""
    two = len(entries) > 1
    shown = [name for name in GROUPS if name in groups and (two or name in ("all", "failed"))]
    first = url.before("changed", shown, "all")
    st.segmented_control(
        "Which queries",
        shown,
        default=shown[first],
        required=True,
        format_func=lambda name: f"{GROUPS[name]} ({len(groups[name]):,})",
        key="changed",
    )
    group = groups[url.after("changed", "all")]
    # The words actually asked in the last run.
    template = entries[-1].run.query_template
    there = set(group["query"])
    asked = [query for query in eval_set.queries if query.query_id in there]
    queries = {query.query_id: query for query in eval_set.queries}
    queries |= {query.query_id: query for query in templated(asked, template)}
    if template is not None:
        st.text(f"Asked by the template: {template}")
    labels = next((found for e in entries if (found := labels_of(e.run))), {})
    rows = group[group["query"].isin(queries)].reset_index(drop=True)
    if rows.empty:
        st.info("There is no such query.")
        url.commit()
        return
    ids = list(rows["query"])
    clicks = st.session_state.get("bars_clicked", 0)
    url.before("drill", list(queries), ids[0])
    chosen = st.dataframe(
        guarded(_rows(rows, queries, metric, two, labels)),
        hide_index=True,
        width="stretch",
        height=min(38 + 36 * len(rows), 330),
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [_place(ids)], "columns": [], "cells": []}},
        key=f"queries_{st.session_state.changed}_{len(rows)}_{clicks}",
        column_config={
            "picture": st.column_config.ImageColumn(width="small"),
            "before": st.column_config.NumberColumn(format="%.3f"),
            "after": st.column_config.NumberColumn(format="%.3f"),
            "change": st.column_config.NumberColumn(format="%+.3f"),
        },
    )
    at = chosen.selection.rows[0] if chosen.selection.rows else 0
    st.session_state.drill = ids[min(at, len(ids) - 1)]
    url.after("drill", ids[0])
    url.commit()
    _drill(entries, eval_set, queries[st.session_state.drill])


def _place(ids: list[str]) -> int:
    chosen = st.session_state.get("drill")
    return ids.index(chosen) if chosen in ids else 0


def _rows(
    rows: pd.DataFrame,
    queries: dict[str, EvalQuery],
    metric: str,
    two: bool,
    labels: dict[str, str],
) -> pd.DataFrame:
    asked = [queries[i] for i in rows["query"]]
    cells: dict[str, object] = {}
    if len(rows) <= PICTURES:
        cells["picture"] = [data_url(q.image, 96) if q.image else None for q in asked]
    cells["query"] = rows["query"]
    cells["instruction"] = [q.text or "(picture alone)" for q in asked]
    cells["category"] = rows["category"]
    if labels:
        cells["needs"] = [labels.get(query_id, "") for query_id in rows["query"]]
    if two:
        cells |= {"first right before": rows["rank before"]}
    cells |= {"first right after" if two else "first right": rows["rank after"]}
    if two:
        cells |= {"before": rows["a"], "after": rows["b"], "change": rows["change"]}
    else:
        cells |= {metric: rows["a"]}
    return pd.DataFrame(cells)


def _drill(entries: list[Entry], eval_set: EvalSet, query: EvalQuery) -> None:
    """Draw one query's stored rankings side by side, with its metrics and missed pictures."""
    right = eval_set.relevant(query.query_id)
    with st.container(horizontal=True, vertical_alignment="center"):
        for path in query.images:
            src = data_url(path, 160)
            if src:
                st.image(src, width=120, alt="the query picture")
        with st.container():
            st.text(query.text or "(picture alone)")
            count = f"{len(right)} right images" if len(right) != 1 else "1 right image"
            st.caption(f"{query.query_id}, {count} in the gallery")
            _search_link(eval_set, query.query_id)
    before: dict[str, int] = {}
    last = entries[-1].run
    alone = [Entry(last, part) for part in ALONE if query.query_id in last.rankings.get(part, {})]
    beside = [*entries, *alone]
    for place, (entry, column) in enumerate(
        zip(beside, st.columns(len(beside), gap="medium"), strict=True)
    ):
        with column:
            st.text(entry.label)
            one = entry.run.rankings[entry.stage].get(query.query_id)
            order = one.image_ids if one else []
            rank = {image_id: i for i, image_id in enumerate(order, start=1)}
            missed = sorted(right - set(order[:SHOWN]), key=lambda i: (rank.get(i, math.inf), i))
            _pictures(
                entry,
                eval_set,
                query.query_id,
                [*order[:SHOWN], *missed[:MISSED]],
                before if place < len(entries) else {},
                place,
            )
            st.caption(_said(rank, right, missed))
            first = entry.run.rankings.get(RETRIEVAL, {}).get(query.query_id)
            if place >= len(entries):
                continue
            if first and first.details.get("rewritten"):
                st.caption("Rewritten as")
                st.text(str(first.details["rewritten"]))
            elif first and first.details.get("rewrite_problem"):
                st.caption("Not rewritten, because")
                st.text(str(first.details["rewrite_problem"]))
            if one and one.details.get("explanation"):
                st.text(str(one.details["explanation"]))
            before = before or rank
    st.dataframe(guarded(_numbers(entries, query.query_id)), hide_index=True, width="content")


def _pictures(
    entry: Entry,
    eval_set: EvalSet,
    query_id: str,
    shown: list[str],
    before: dict[str, int],
    place: int,
) -> None:
    one = entry.run.rankings[entry.stage].get(query_id)
    order = {image_id: i for i, image_id in enumerate(one.image_ids if one else [])}
    judged = eval_set.qrels.get(query_id, {})
    images = eval_set.present(shown)
    tiles = []
    for image_id in shown:
        at = order.get(image_id)
        grade = judged.get(image_id)
        rank = None if at is None else at + 1
        scored = one is not None and at is not None and at < len(one.scores)
        words = {True: "right", False: "judged wrong"}.get(grade is not None and grade > 0, "")
        words = "not judged" if grade is None else words
        tiles.append(
            Tile(
                id=image_id,
                src=data_url(images[image_id].path) if image_id in images else None,
                label=f"Rank {rank or 'beyond the last'}, {words}: {image_id}",
                badge=str(rank) if rank else "–",
                score=f"{one.scores[at]:.3f}" if scored and one and at is not None else "",
                mark=None if grade is None else "right" if grade > 0 else "wrong",
                moved=before[image_id] - rank if rank and image_id in before else 0,
                tip=images[image_id].text if image_id in images else image_id,
                caption="" if rank is not None and rank <= SHOWN else "missed",
            )
        )
    picture_grid(tiles, key=f"drill_{place}")


def _said(rank: dict[str, int], right: set[str], missed: list[str]) -> str:
    """The places of the right images, in words."""
    found = sorted(rank[i] for i in right if i in rank)
    if not right:
        return "This query has no right image."
    if not found:
        words = "The right image is not"
        if len(right) > 1:
            words = f"None of the {len(right)} right images is"
        return f"{words} among the {len(rank)} kept results."
    said = f"Right images at ranks {', '.join(map(str, found[:10]))}" + (
        " …" if len(found) > 10 else ""
    )
    lost = len(right) - len(found)
    return said + (f"; {lost} not among the {len(rank)} kept results." if lost else ".")


def _numbers(entries: list[Entry], query_id: str) -> pd.DataFrame:
    """Every metric of one query, a column for each entry."""
    cells: dict[str, object] = {}
    names = [m for m in entries[0].scores.values if all(m in e.scores.values for e in entries)]
    cells["metric"] = [metric_title(name) for name in names]
    for entry in entries:
        ids = entry.scores.query_ids
        row = ids.index(query_id) if query_id in ids else None
        cells[entry.label] = [
            None if row is None else round(float(entry.scores.values[name][row]), 3)
            for name in names
        ]
    return pd.DataFrame(cells)


def _search_link(eval_set: EvalSet, query_id: str) -> None:
    name = Path(eval_set.folder).name
    if name in known_eval_sets():
        st.page_link(
            st.Page(resources.page("search"), url_path="search"),
            label="Search this query again",
            icon=":material/image_search:",
            query_params={"set": name, "query": query_id},
        )
