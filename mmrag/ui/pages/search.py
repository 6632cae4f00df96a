"""Search: one query, two configurations side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.errors import MmragError
from mmrag.types import Hit, SearchResult
from mmrag.ui import resources, url
from mmrag.ui.first_run import ensure_something_to_search
from mmrag.ui.navigation import show_error
from mmrag.ui.panels import search_side as side
from mmrag.ui.panels.ask import ask_panel
from mmrag.ui.panels.query_input import ChosenQuery, apply_pending, choose_query
from mmrag.ui.reproduce import Recipe, command_line, python_code
from mmrag.ui.tables import guarded
from mmrag.ui.tiles import as_csv, as_json

if TYPE_CHECKING:
    from mmrag.index.collections import CollectionInfo

VIEWS = {"pictures": "Pictures", "panorama": "Panorama", "timings": "Timings"}


def main() -> None:
    """The page."""
    resources.warm_up()
    found = ensure_something_to_search()
    apply_pending()
    query_column, sides_column = st.columns([2, 5], gap="medium")
    with query_column:
        chosen = choose_query()
    with sides_column:
        configurations = _configurations(found)
        if chosen is not None and _may_search(configurations, chosen):
            _results(configurations, chosen)


def _configurations(found: dict[str, CollectionInfo]) -> dict[str, side.Configuration]:
    configurations = {}
    for name, column in zip(side.SIDES, st.columns(2, gap="medium"), strict=True):
        with column:
            configurations[name] = side.configure(name, found)
    return configurations


def _may_search(configurations: dict[str, side.Configuration], chosen: ChosenQuery) -> bool:
    """What is free is searched at once; what costs money waits for a click."""
    state = "|".join([c.key() for c in configurations.values()] + [chosen.digest()])
    with st.container(horizontal=True, vertical_alignment="center"):
        clicked = st.button("Search", type="primary", icon=":material/search:")
        st.button("Swap", icon=":material/swap_horiz:", on_click=side.swap)
        st.button("Right as left", icon=":material/content_copy:", on_click=side.copy_left)
        url.before("view", list(VIEWS), "pictures")
        st.segmented_control(
            "View",
            list(VIEWS),
            required=True,
            format_func=VIEWS.__getitem__,
            key="view",
            persist_state="session",
            label_visibility="collapsed",
        )
        url.after("view", "pictures")
    if clicked:
        st.session_state.approved = state
    free = not any(c.reranker.costs_money for c in configurations.values())
    if free or st.session_state.get("approved") == state:
        return True
    st.info("GPT-4o costs money: press Search to ask it.", icon=":material/payments:")
    return False


def _results(configurations: dict[str, side.Configuration], chosen: ChosenQuery) -> None:
    shown: dict[str, SearchResult] = {}
    clicked: tuple[str, str] | None = None
    for name, column in zip(side.SIDES, st.columns(2, gap="medium"), strict=True):
        with column:
            try:
                with st.spinner("Searching …"):
                    result = side.search(configurations[name], chosen)
            except MmragError as error:
                show_error(error)
                continue
            shown[name] = result
            image_id = side.show(name, st.session_state.view, configurations[name], result, chosen)
            if image_id is not None:
                clicked = (name, image_id)
    if clicked is not None:
        name, image_id = clicked
        _image_dialog(next(hit for hit in shown[name].hits if hit.image_id == image_id))
    if shown:
        ask_panel(shown)
        _downloads(configurations, shown)


@st.dialog("Image", width="large")
def _image_dialog(hit: Hit) -> None:
    data = _full_size(hit.path)
    if data is None:
        st.warning("This picture cannot be read any more.")
    else:
        st.image(data, width="stretch", alt=hit.text or hit.image_id)
    if hit.text:
        st.text(hit.text)
    st.text(f"Rank {hit.rank} (retrieved at {hit.retrieval_rank}), score {hit.score:.4f}")
    st.text(hit.image_id)
    if hit.metadata:
        rows = [{"key": key, "value": str(value)} for key, value in hit.metadata.items()]
        st.dataframe(guarded(rows), hide_index=True, width="stretch")
    if data is not None and st.button("More like this", icon=":material/filter_center_focus:"):
        st.session_state.next_picture = Path(hit.path).read_bytes()
        st.rerun()


def _full_size(path: str) -> bytes | None:
    from mmrag.errors import ImageError
    from mmrag.images.thumbnails import thumbnail

    try:
        return thumbnail(path, 1024)
    except ImageError:
        return None


def _downloads(
    configurations: dict[str, side.Configuration], shown: dict[str, SearchResult]
) -> None:
    with st.expander("Downloads, and how to get the same elsewhere", icon=":material/download:"):
        columns = st.columns(len(shown), gap="medium")
        for (name, result), column in zip(shown.items(), columns, strict=True):
            c = configurations[name]
            recipe = Recipe(
                result.query,
                c.collection.name,
                c.collection.encoder,
                c.k,
                c.reranker.name,
                c.reranker.presentation,
                c.candidates,
            )
            with column:
                with st.container(horizontal=True):
                    st.download_button(
                        "Panorama",
                        partial(side.panorama, result),
                        f"{name}.jpg",
                        "image/jpeg",
                        on_click="ignore",
                        key=f"{name}_jpg",
                    )
                    st.download_button(
                        "CSV",
                        partial(as_csv, result),
                        f"{name}.csv",
                        "text/csv",
                        on_click="ignore",
                        key=f"{name}_csv",
                    )
                    st.download_button(
                        "JSON",
                        partial(as_json, result),
                        f"{name}.json",
                        "application/json",
                        on_click="ignore",
                        key=f"{name}_json",
                    )
                st.code(command_line(recipe), language="bash", wrap_lines=True)
                st.code(python_code(recipe), language="python")


main()
