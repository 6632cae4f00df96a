"""The visitor's own pictures as the query: uploaded, pasted, photographed, or from a link."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from mmrag.errors import ImageError, MmragError
from mmrag.galleries.kept_pictures import keep_picture, kept_picture
from mmrag.images.formats import EXTENSIONS
from mmrag.images.thumbnails import data_url
from mmrag.ui import url
from mmrag.ui.doors import may_change
from mmrag.ui.paste import pasted_picture

SIDE = 320


@dataclass
class OwnPicture:
    """One such picture, read once: its name is its SHA-256, `src` is None if it cannot be read.

    `is_kept` says whether a link may name it.
    """

    data: bytes
    name: str
    src: str | None
    is_kept: bool


def take(pictures: Sequence[bytes], *, is_hit: bool = False) -> None:
    """Make these pictures the query; none removes the former ones.

    Args:
        pictures: files.
        is_hit: the picture is from the gallery, and not to be found again.
    """
    st.session_state.own_picture_is_hit = is_hit
    names = [_digest(data) for data in pictures]
    st.session_state.own_pictures = [
        OwnPicture(data, name, data_url(data, SIDE), kept_picture(name) is not None)
        for data, name in zip(pictures, names, strict=True)
    ]


def choose() -> list[OwnPicture]:
    """Draw the ways to give pictures; return the latest ones."""
    if named := url.named_before("picture"):
        found = {name: kept_picture(name) for name in named}
        for name in (name for name, data in found.items() if data is None):
            url.gone("picture", name)
        take([data for data in found.values() if data is not None])
    # The uploader keeps what was removed here.
    removed: set[str] = st.session_state.setdefault("removed_pictures", set())
    uploaded = st.file_uploader(
        "Upload a picture, or several of one thing",
        accept_multiple_files=True,
        type=sorted(extension[1:] for extension in EXTENSIONS),
        max_upload_size=20,
        key="upload",
    )
    pasted = pasted_picture(key="paste")
    with st.popover("Photograph", icon=":material/photo_camera:"):
        photographed = st.camera_input("Photograph", label_visibility="collapsed", key="camera")
    for given in (
        {_digest(pasted): pasted} if pasted is not None else {},
        {_digest_of(one): one for one in [photographed] if one},
        {_digest_of(one): one for one in uploaded if _digest_of(one) not in removed},
    ):
        if not set(given) <= set(_seen()):
            _seen().extend(given)
            take([one if isinstance(one, bytes) else one.getvalue() for one in given.values()])
            break
    pictures: list[OwnPicture] = st.session_state.setdefault("own_pictures", [])
    return pictures


def remove_button(count: int) -> None:
    """Draw the button that removes `count` pictures."""
    words = "Remove the pictures" if count > 1 else "Remove the picture"
    if st.button(words, icon=":material/close:", type="tertiary"):
        take([])
        st.session_state.removed_pictures.update(_seen())
        st.rerun()


def offer_link(pictures: Sequence[OwnPicture]) -> None:
    """Say whether the page's link includes these pictures, and keep them for it on request."""
    these, them = ("these pictures", "them") if len(pictures) > 1 else ("this picture", "it")
    if all(picture.is_kept for picture in pictures):
        url.named_after("picture", [picture.name for picture in pictures])
        st.caption(f"The address of this page brings {these} with it.")
        return
    url.named_after("picture", [])
    st.caption(
        f"The address of this page leaves {these} out: whoever opens it, or loads it again, "
        f"begins without {them}."
    )
    if may_change() and st.button("Keep it in the link", icon=":material/link:", type="tertiary"):
        try:
            for picture in pictures:
                keep_picture(picture.data)
                picture.is_kept = True
        except (ImageError, OSError) as error:
            raise MmragError(f"The picture could not be kept: {error}") from None
        st.rerun()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(upload: UploadedFile) -> str:
    """Digest of an upload, computed once though every run of the page gets the upload anew."""
    known: dict[str, str] = st.session_state.setdefault("upload_digests", {})
    if upload.file_id not in known:
        known[upload.file_id] = _digest(upload.getvalue())
    return known[upload.file_id]


def _seen() -> list[str]:
    seen: list[str] = st.session_state.setdefault("seen_pictures", [])
    return seen
