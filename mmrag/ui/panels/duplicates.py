"""Pairs of images that look almost the same to the encoder."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import streamlit as st

from mmrag.errors import MmragError
from mmrag.index.browse import read_images
from mmrag.index.collections import CollectionInfo
from mmrag.runs.frames import as_csv
from mmrag.types import GalleryImage
from mmrag.ui import gallery_data, resources
from mmrag.ui.doors import may_change
from mmrag.ui.image_dialog import open_dialog
from mmrag.ui.markdown import escaped
from mmrag.ui.navigation import show_error
from mmrag.ui.picture_grid import Tile, picture_grid
from mmrag.ui.shows import readable

PER_PAGE = 12


@st.fragment
def duplicates_panel(info: CollectionInfo) -> None:
    """Draw the threshold and one page of pairs."""
    name = resources.uri(), info.name, gallery_data.state(info)
    try:
        fitting = gallery_data.fitting_threshold(*name)
    except MmragError as error:
        show_error(error)
        return
    threshold = st.slider(
        "Cosine of at least",
        0.8,
        1.0,
        fitting,
        0.005,
        format="%.3f",
        key="cosine",
        bind="query-params",
        on_change=_first_page,
        width=420,
        help="How close two vectors have to be. 1 finds copies; what is near depends on the "
        "encoder, so it begins where few pairs are left.",
    )
    try:
        close = gallery_data.duplicates(*name, threshold)
    except MmragError as error:
        show_error(error)
        return
    st.text(_summary(close, info))
    if not close.pairs:
        return
    st.download_button(
        "Pairs as CSV",
        lambda: as_csv(pd.DataFrame([asdict(pair) for pair in close.pairs])),
        "pairs.csv",
        "text/csv",
        on_click="ignore",
        help="For leaving the second of each pair out of the folder, or for a closer look.",
    )
    pages = -(-len(close.pairs) // PER_PAGE)
    place = st.container()
    page = st.pagination(pages, key="pair_page", bind="query-params") if pages > 1 else 1
    shown = close.pairs[(page - 1) * PER_PAGE : page * PER_PAGE]
    ids = list(dict.fromkeys(i for pair in shown for i in (pair.first, pair.second)))
    images = {i.image_id: i for i in read_images(resources.index(*name[:2]), ids)}
    tiles = _tiles(list(images.values()))
    with place, st.grid(min_column_width=270, border=True):
        offered: set[str] = set()
        for number, pair in enumerate(shown):
            if not {pair.first, pair.second} <= set(tiles):
                continue
            with st.container(gap="xsmall"):
                clicked = picture_grid(
                    [tiles[pair.first], tiles[pair.second]], key=f"pair_{number}", tile_width=105
                )
                st.text(f"{pair.cosine:.4f}" + (", the same file" if pair.same_file else ""))
                if pair.second not in offered:
                    _leave_out(info, pair.second)
                offered.add(pair.second)
            if clicked:
                open_dialog([images[pair.first], images[pair.second]], clicked, info.name)


def _leave_out(info: CollectionInfo, image_id: str) -> None:
    """Remove the second image of a pair on a click; galleries of eval sets stay whole."""
    if readable(info.name) != info.name or not may_change():
        return
    if st.button(
        "Leave the second out",
        key=f"leave_{image_id}",
        icon=":material/playlist_remove:",
        type="tertiary",
        help=f"Takes {escaped(image_id)} out of the collection. The file stays, and indexing its "
        "folder again brings it back.",
    ):
        resources.index(resources.uri(), info.name).delete([image_id])
        gallery_data.forget()
        st.rerun()


def _summary(close: gallery_data.Duplicates, info: CollectionInfo) -> str:
    pairs = "1 pair" if close.found == 1 else f"{close.found:,} pairs"
    words = f"{pairs} among {close.compared:,} images"
    if close.compared < info.rows:
        words += f" (of {info.rows:,}, drawn with a fixed seed)"
    if close.found > len(close.pairs):
        words += f"; the {len(close.pairs):,} closest are shown"
    return words + "."


def _tiles(images: list[GalleryImage]) -> dict[str, Tile]:
    return {
        image.image_id: Tile(
            id=image.image_id,
            src=url,
            label=f"{image.image_id}. {image.text}",
            tip=image.text or image.image_id,
        )
        for image, url in zip(images, gallery_data.thumbnails(images), strict=True)
    }


def _first_page() -> None:
    st.session_state.pair_page = 1
