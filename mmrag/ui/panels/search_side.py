"""One of the two sides of the search page: its configuration and its results."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.demo import knows_only
from mmrag.types import SearchResult
from mmrag.ui import resources, shows, url
from mmrag.ui.doors import may_change
from mmrag.ui.markdown import escaped
from mmrag.ui.panels.query_numbers import query_numbers
from mmrag.ui.panels.search_judging import judged_grid
from mmrag.ui.spent import spent
from mmrag.ui.tiles import first_right, hit_tiles, judged

if TYPE_CHECKING:
    from mmrag.index.collections import CollectionInfo
    from mmrag.ui.panels.query_input import ChosenQuery

SIDES = ("left", "right")
RESULTS_KEPT = 20
CANDIDATES = 20


@dataclass(frozen=True)
class Configuration:
    """The configuration of one side."""

    collection: CollectionInfo
    reranker: resources.RerankerChoice
    k: int

    @property
    def candidates(self) -> int:
        """Number of hits retrieved: enough to show and for a reranker to see."""
        return max(self.k, CANDIDATES) if self.reranker.name else self.k

    def key(self) -> str:
        """A key for the configuration and the state of its collection."""
        c, r = self.collection, self.reranker
        return f"{c.name}|{c.fingerprint}|{c.rows}|{r.name}|{r.presentation}|{self.k}"

    def title(self) -> str:
        """The configuration in words."""
        return f"{self.collection.encoder}, {self.reranker.label}"


def configure(side: str, found: dict[str, CollectionInfo]) -> Configuration:
    """Draw one side's choices."""
    names = list(found)
    suggested = suggestion(side, found)
    first = url.before(f"{side}_collection", names, suggested[0])
    st.selectbox(
        f"{side.capitalize()}: encoder and collection",
        names,
        index=first,
        format_func=lambda n: f"{found[n].encoder} · {shows.readable(n)} ({found[n].rows:,})",
        key=f"{side}_collection",
        persist_state="session",
    )
    collection = url.after(f"{side}_collection", suggested[0])
    seen = max(st.session_state.get(f"{side}_k") or 0, CANDIDATES)
    choices = resources.reranker_choices(resources.Shown(min(seen, found[collection].rows)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        named = resources.named_models(f"{side}_rerank")
        offered = list(dict.fromkeys([*choices, *named]))
        first = url.before(f"{side}_rerank", offered, suggested[1])
        st.selectbox(
            f"{side.capitalize()}: reranking",
            offered,
            index=first,
            format_func=lambda key: resources.reranker_choice(choices, key).offer,
            key=f"{side}_rerank",
            persist_state="session",
            accept_new_options=may_change(),
            help="Another vision model of the server can be typed in." if may_change() else None,
        )
        reranker = resources.reranker_choice(choices, url.after(f"{side}_rerank", suggested[1]))
        st.number_input(
            f"{side.capitalize()}: hits",
            1,
            50,
            url.number_before(f"{side}_k", 1, 50, 9),
            key=f"{side}_k",
            persist_state="session",
            width=110,
        )
        k = url.number_after(f"{side}_k", 9)
    resources.show_notice(reranker)
    return Configuration(found[collection], reranker, k)


def suggestion(side: str, found: dict[str, CollectionInfo]) -> tuple[str, str]:
    """The first visitor's view: the same search without and with reranking, if possible."""
    shown = [shows.of_set(st.session_state.get("set")), shows.first(found)]
    for show in filter(None, shown):
        own = shows.collections_of(show, found)
        if own:
            return own[show.weaker], "none" if side == "left" else f"encoder:{show.encoder}"
    return next(iter(found)), "none"


def swap() -> None:
    """Exchange the two sides."""
    for part in ("collection", "rerank", "k"):
        left, right = f"left_{part}", f"right_{part}"
        state = st.session_state
        state[left], state[right] = state[right], state[left]


def copy_left() -> None:
    """Give the right side the left side's configuration ("same but ...")."""
    for part in ("collection", "rerank", "k"):
        st.session_state[f"right_{part}"] = st.session_state[f"left_{part}"]


def results() -> OrderedDict[str, SearchResult]:
    """This visitor's latest results, so that nothing is searched twice."""
    kept: OrderedDict[str, SearchResult] = st.session_state.setdefault("results", OrderedDict())
    return kept


def search(configuration: Configuration, chosen: ChosenQuery) -> SearchResult:
    """Search, or take the result from this session if it is there."""
    from mmrag.encoders.queries import query_notes
    from mmrag.search.searcher import Searcher

    key = f"{configuration.key()}|{chosen.digest()}"
    kept = results()
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    info = configuration.collection
    encoder = resources.encoder(info.encoder)
    searcher = Searcher(resources.index(resources.uri(), info.name), encoder)
    query = chosen.query()
    with resources.model_turn():
        began = time.perf_counter()
        vectors = searcher.encode([query])
        encoded = time.perf_counter()
    searching = time.perf_counter()
    [hits] = searcher.search_vectors(
        [query],
        vectors,
        configuration.candidates,
        exclude_query_image=chosen.exclude_query_image,
    )
    times = {"encode": encoded - began, "search": time.perf_counter() - searching}
    timings = {stage: 1000 * s for stage, s in times.items()}
    result = SearchResult(query, hits, timings, notes=query_notes(encoder, query))
    name = configuration.reranker.name
    if name and result.hits:
        reranker = resources.reranker(name, configuration.reranker.presentation)
        if configuration.reranker.costs_money:
            result = reranker.rerank(result)
        else:
            with resources.model_turn():
                result = reranker.rerank(result)
    stages = {n: ms for n, ms in result.timings_ms.items() if n != "total"}
    result = replace(result, timings_ms={**stages, "total": sum(stages.values())})
    kept[key] = result
    while len(kept) > RESULTS_KEPT:
        kept.popitem(last=False)
    return result


def title(side: str, configuration: Configuration) -> None:
    """Draw the side's name and configuration."""
    st.header(f"{side.capitalize()}: {escaped(configuration.title())}", anchor=False)


def show(
    side: str, view: str, configuration: Configuration, result: SearchResult, chosen: ChosenQuery
) -> str | None:
    """Draw one side's result; return the id of the clicked picture."""
    title(side, configuration)
    query_id = chosen.eval_query.query_id if chosen.eval_query else None
    right = judged(result, chosen.eval_set, query_id)
    notes = [first_right(result.hits, right), f"{result.timings_ms.get('total', 0):.0f} ms"]
    if chosen.is_edited:
        notes.insert(0, "Not judged: the instruction was edited")
    st.caption(" · ".join(note for note in notes if note))
    note = knows_only(configuration.collection.encoder, (hit.path for hit in result.hits))
    if note:
        st.caption(":material/info: This encoder knows other pictures than these.", help=note)
    for note in result.notes:
        st.text(note)
    if not result.hits:
        st.info("No hits: the collection is empty.")
        return None
    clicked = None
    if view == "pictures":
        judgments = chosen.eval_set.qrels.get(query_id or "") if chosen.eval_set else None
        tiles = hit_tiles(result.hits[: configuration.k], right, judgments)
        clicked = judged_grid(tiles, result.hits, chosen, key=f"{side}_grid")
    elif view == "panorama":
        st.image(panorama(result), width="stretch", alt="query and hits in a grid, best first")
    elif view == "timings":
        _timings(result)
    if configuration.reranker.costs_money:
        st.caption("The scores are those of retrieval; the model gives an order alone.")
    _report(result)
    if right is not None and chosen.eval_set is not None and query_id is not None:
        query_numbers(side, configuration.collection, configuration.k, result, chosen, right)
    return clicked


def panorama(*results: SearchResult) -> bytes:
    """The query and its hits in a grid, numbered as on the page from 1, as JPEG.

    The grids of several results are put side by side.
    """
    from mmrag.images.grid import beside, encode_grid, result_grid

    grids = [
        result_grid(one, columns=max(1, math.ceil(math.sqrt(len(one.hits)))), first=1)
        for one in results
    ]
    return encode_grid(beside(grids) if len(grids) > 1 else grids[0])


def _report(result: SearchResult) -> None:
    report = result.rerank
    if report is None:
        return
    if result.explanation:
        with st.container(border=True):
            st.caption("Why the first is best")
            st.text(result.explanation)
    if report.status != "complete":
        words = "The order of retrieval stands." if report.status == "failed" else "Repaired."
        st.warning(f"Reranking: {report.status}. {words}", icon=":material/info:")
        for problem in report.problems:
            st.text(problem)
    used = report.usage
    if used.prompt_tokens or used.cached or used.unanswered:
        st.caption(spent(used))


def _timings(result: SearchResult) -> None:
    import altair as alt
    import pandas as pd

    stages = [
        {"stage": stage, "ms": round(ms, 1), "order": i}
        for i, (stage, ms) in enumerate(result.timings_ms.items())
        if stage != "total"
    ]
    chart = (
        alt.Chart(pd.DataFrame(stages))
        .mark_bar(cornerRadius=3, height=26)
        .encode(
            x=alt.X("ms:Q", stack="zero", title="milliseconds"),
            color=alt.Color("stage:N", title=None, sort=[str(s["stage"]) for s in stages]),
            order="order:Q",
            tooltip=["stage:N", "ms:Q"],
        )
        .properties(height=90, description="Milliseconds of each stage, one after the other")
    )
    st.altair_chart(chart, width="stretch")
    words = [f"{s['stage']} {s['ms']} ms" for s in stages]
    st.caption(" · ".join(words))
