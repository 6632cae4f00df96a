"""Looking through a collection, page by page."""

from __future__ import annotations

from collections import defaultdict

import streamlit as st

from mmrag.errors import MmragError
from mmrag.index.browse import read_images
from mmrag.index.collections import CollectionInfo
from mmrag.types import GalleryImage
from mmrag.ui import gallery_data, resources
from mmrag.ui.image_dialog import open_dialog
from mmrag.ui.navigation import show_error
from mmrag.ui.picture_grid import Tile, picture_grid

PER_PAGE = 60


@st.fragment
def browse_panel(info: CollectionInfo) -> None:
    """Draw the filter, one page of pictures, and the page numbers."""
    name = resources.uri(), info.name, gallery_data.state(info)
    try:
        words, where, filter = _choose(gallery_data.overview(*name).facets)
        ids = gallery_data.matches(*name, words, where, filter)
    except MmragError as error:
        show_error(error)
        return
    if not ids:
        st.info("No matching images. Try fewer words.", icon=":material/search_off:")
        return
    pictures = st.container()
    first = _page(len(ids))
    images = read_images(resources.index(*name[:2]), ids[first : first + PER_PAGE])
    with pictures:
        clicked = picture_grid(_tiles(images), key=f"browse_{info.name}")
    if clicked:
        open_dialog(images, clicked, info.name)


def _choose(facets: dict[str, dict[str, int]]) -> tuple[str, gallery_data.Where, str]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Find",
            key="find",
            bind="query-params",
            on_change=_first_page,
            icon=":material/search:",
            placeholder="words in names, descriptions and metadata",
            max_chars=200,
            width=340,
        )
        options = {
            f"{label}: {value}": (label, value)
            for label, values in facets.items()
            for value in values
        }
        chosen = []
        if options:
            chosen = st.multiselect(
                "Narrow to",
                list(options),
                key="narrow",
                bind="query-params",
                on_change=_first_page,
                placeholder="folders and metadata",
                width=340,
                wrap=True,
            )
        with st.popover("Expression", icon=":material/filter_alt:", help="For experts"):
            filter = st.text_input(
                "Milvus filter expression",
                key="filter",
                bind="query-params",
                on_change=_first_page,
                max_chars=1000,
                placeholder='metadata["price"] < 10',
                help="Over `text`, `path` and `metadata[...]`, as `search --filter` takes it.",
            )
    wanted: dict[str, list[str]] = defaultdict(list)
    for option in chosen:
        label, value = options[option]
        wanted[label].append(value)
    where = tuple((label, tuple(sorted(values))) for label, values in sorted(wanted.items()))
    return (words or "").strip(), where, (filter or "").strip()


def _page(count: int) -> int:
    """Draw the page numbers; return the position of the first image on the chosen page."""
    pages = -(-count // PER_PAGE)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
        first = (page - 1) * PER_PAGE
        st.text(f"{first + 1:,} to {min(first + PER_PAGE, count):,} of {count:,}")
    return first


def _tiles(images: list[GalleryImage]) -> list[Tile]:
    return [
        Tile(
            id=image.image_id,
            src=url,
            label=f"{image.image_id}. {image.text}",
            tip=image.text or image.image_id,
        )
        for image, url in zip(images, gallery_data.thumbnails(images), strict=True)
    ]


def _first_page() -> None:
    st.session_state.page = 1
