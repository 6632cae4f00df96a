"""Search: one query, two configurations side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.errors import MmragError
from mmrag.types import GalleryImage, Hit, SearchResult
from mmrag.ui import resources, shows, url
from mmrag.ui.first_run import ensure_something_to_search
from mmrag.ui.image_dialog import describe, large_picture
from mmrag.ui.markdown import command
from mmrag.ui.navigation import show_error
from mmrag.ui.panels import search_side as side
from mmrag.ui.panels.ask import ask_panel
from mmrag.ui.panels.missing import missing_panel
from mmrag.ui.panels.query_input import ChosenQuery, apply_pending, choose_query
from mmrag.ui.panels.query_parts import show_parts
from mmrag.ui.panels.search_judging import save_panel
from mmrag.ui.reproduce import Recipe, command_line, python_code
from mmrag.ui.tiles import as_csv, as_json

if TYPE_CHECKING:
    from mmrag.index.collections import CollectionInfo

VIEWS = {
    "pictures": "Pictures",
    "parts": "Picture and words apart",
    "panorama": "Panorama",
    "timings": "Timings",
}
LEGEND = (
    "✓ right, ✗ wrong, · not judged; ▲ ▼ ranks moved by reranking; the number at the right is the "
    "score."
)


def main() -> None:
    """Draw the page."""
    resources.warm_up()
    found = ensure_something_to_search()
    apply_pending()
    query_column, sides_column = st.columns([2, 5], gap="medium")
    with query_column, st.container(key="asked"):
        chosen = choose_query(found)
        shows.other_button(found)
        st.page_link(
            st.Page(resources.page("gallery"), url_path="gallery"),
            label="Search your own collection of pictures",
            icon=":material/add_photo_alternate:",
            query_params={"tab": "collections"},
        )
    with sides_column:
        configurations = _configurations(found)
        approved = _approved(configurations, chosen)
        # Before anything slow, so that Back has a step to undo.
        url.commit()
        if chosen is not None:
            _results(configurations, chosen, approved)


def _configurations(found: dict[str, CollectionInfo]) -> dict[str, side.Configuration]:
    configurations = {}
    box = st.expander("What is compared", icon=":material/tune:", key="compared", on_change="rerun")
    with box:
        for name, column in zip(side.SIDES, st.columns(2, gap="medium"), strict=True):
            with column:
                configurations[name] = side.configure(name, found)
        with st.container(horizontal=True):
            st.button("Swap", icon=":material/swap_horiz:", on_click=side.swap)
            st.button("Copy left to right", icon=":material/content_copy:", on_click=side.copy_left)
        if box.open:
            missing_panel()
    return configurations


def _approved(
    configurations: dict[str, side.Configuration], chosen: ChosenQuery | None
) -> set[str]:
    """The sides that may search: free ones at once, ones that cost money after a click."""
    asked = "" if chosen is None else chosen.digest()
    states = {name: f"{c.key()}|{asked}" for name, c in configurations.items()}
    paid = {name for name, c in configurations.items() if c.reranker.costs_money}
    approved: set[str] = st.session_state.setdefault("approved", set())
    with st.container(horizontal=True, vertical_alignment="center"):
        if paid and st.button("Search", type="primary", icon=":material/search:"):
            approved.clear()
            approved.update(states[name] for name in paid)
        views = list(VIEWS)
        st.segmented_control(
            "View",
            views,
            default=views[url.before("view", views, "pictures")],
            required=True,
            format_func=VIEWS.__getitem__,
            key="view",
            persist_state="session",
            label_visibility="collapsed",
        )
        url.after("view", "pictures")
    return {name for name in configurations if name not in paid or states[name] in approved}


def _results(
    configurations: dict[str, side.Configuration], chosen: ChosenQuery, approved: set[str]
) -> None:
    shown: dict[str, SearchResult] = {}
    clicked: tuple[str, str] | None = None
    view = st.session_state.view
    columns = dict(zip(side.SIDES, st.columns(2, gap="medium"), strict=True))
    # Free sides do not wait for a paid model.
    for name in sorted(side.SIDES, key=lambda name: configurations[name].reranker.costs_money):
        with columns[name]:
            if name not in approved:
                side.title(name, configurations[name])
                st.info(
                    "A vision model costs money: press Search to ask it.",
                    icon=":material/payments:",
                )
                continue
            if view == "parts":
                side.title(name, configurations[name])
                show_parts(name, configurations[name], chosen)
                continue
            try:
                with st.spinner("Searching …"):
                    result = side.search(configurations[name], chosen)
            except MmragError as error:
                show_error(error)
                continue
            shown[name] = result
            image_id = side.show(name, view, configurations[name], result, chosen)
            if image_id is not None:
                clicked = (name, image_id)
    shown = {name: shown[name] for name in side.SIDES if name in shown}
    if clicked is not None:
        name, image_id = clicked
        _image_dialog(next(hit for hit in shown[name].hits if hit.image_id == image_id))
    if shown:
        if view == "pictures":
            st.caption(LEGEND)
        answered = [configurations[name] for name in shown]
        save_panel(
            chosen,
            answered[0].collection.name,
            [(one.collection.encoder, one.reranker.name) for one in answered],
        )
        ask_panel(shown, {name: configurations[name].title() for name in shown})
        _downloads(configurations, shown)


@st.dialog("Image", width="large")
def _image_dialog(hit: Hit) -> None:
    left, right = st.columns([3, 2], gap="medium")
    picture = large_picture(hit.path)
    with left:
        if picture is None:
            st.warning("This picture cannot be read any more.", icon=":material/broken_image:")
        else:
            st.image(picture, alt=hit.text or hit.image_id)
    with right:
        st.text(f"Rank {hit.rank} (retrieved at {hit.retrieval_rank}), score {hit.score:.4f}")
        describe(GalleryImage(hit.image_id, hit.path, hit.text, hit.metadata))
        if picture is not None and st.button(
            "More like this", icon=":material/filter_center_focus:"
        ):
            st.session_state.next_picture = Path(hit.path).read_bytes()
            st.rerun()


def _downloads(
    configurations: dict[str, side.Configuration], shown: dict[str, SearchResult]
) -> None:
    with st.expander("Downloads, and how to get the same elsewhere", icon=":material/download:"):
        if len(shown) > 1:
            st.download_button(
                "Both panoramas as one picture",
                partial(side.panorama, *shown.values()),
                "both.jpg",
                "image/jpeg",
                on_click="ignore",
                key="both_jpg",
            )
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
                command(command_line(recipe))
                command(python_code(recipe))


url.run_page("search", main)
