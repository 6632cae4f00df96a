"""One enlarged picture, with its details."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from mmrag.errors import ImageError
from mmrag.images.thumbnails import thumbnail
from mmrag.types import GalleryImage
from mmrag.ui import resources
from mmrag.ui.tables import guarded

LARGE = 1024


def open_dialog(images: Sequence[GalleryImage], image_id: str, collection: str) -> None:
    """Show one of the images, with buttons to leaf through the others."""
    ids = [image.image_id for image in images]
    if image_id in ids:
        st.session_state.leaf = ids.index(image_id)
        _dialog(images, collection)


@st.dialog("Picture", width="medium")
def _dialog(images: Sequence[GalleryImage], collection: str) -> None:
    at = min(st.session_state.get("leaf", 0), len(images) - 1)
    image = images[at]
    picture = large_picture(image.path)
    # Above the picture, so that leafing does not move them.
    _buttons(image, at, len(images), collection, picture is not None)
    if picture is None:
        st.warning("The file cannot be read any more.", icon=":material/broken_image:")
    else:
        st.image(picture, alt=image.text or image.image_id)
    describe(image)


def large_picture(path: str) -> bytes | None:
    """An enlarged picture as WebP; None if it cannot be read."""
    try:
        return thumbnail(path, LARGE)
    except ImageError:
        return None


def describe(image: GalleryImage) -> None:
    """Show name, text and metadata as text."""
    if image.text:
        st.text(image.text)
    st.text(image.image_id)
    if image.metadata:
        rows = [{"key": key, "value": str(value)} for key, value in image.metadata.items()]
        st.dataframe(guarded(rows), hide_index=True, width="stretch")


def search_link(image: GalleryImage, collection: str) -> None:
    """A link to the Search page, with this picture as the query."""
    st.page_link(
        st.Page(resources.page("search"), url_path="search"),
        label="Search with this picture",
        icon=":material/image_search:",
        query_params={"like": f"{collection}:{image.image_id}"},
        width="content",
    )


def _buttons(image: GalleryImage, at: int, count: int, collection: str, is_readable: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if count > 1:
            st.button("Previous", icon=":material/chevron_left:", on_click=_leaf, args=(-1, count))
            st.button("Next", icon=":material/chevron_right:", on_click=_leaf, args=(1, count))
            st.text(f"{at + 1} of {count}")
        if is_readable:
            search_link(image, collection)


def _leaf(by: int, count: int) -> None:
    st.session_state.leaf = (st.session_state.leaf + by) % count
