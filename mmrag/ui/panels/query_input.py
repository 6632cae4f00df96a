"""Choosing a query: one of an eval set, or the visitor's own picture, and its instruction."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.errors import MmragError
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.images.decode import read_bytes
from mmrag.images.thumbnails import data_url
from mmrag.types import ImageSource, Query
from mmrag.ui import resources, shows, url
from mmrag.ui.markdown import escaped
from mmrag.ui.panels import own_pictures
from mmrag.ui.picture_grid import Tile, picture_grid

if TYPE_CHECKING:
    from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
    from mmrag.index.collections import CollectionInfo

PER_PAGE = 12
SOURCES = {"set": "From an eval set", "own": "My own picture"}


@dataclass(frozen=True)
class ChosenQuery:
    """The visitor's query; `eval_set` and `eval_query` only if it is unchanged from a set.

    `is_edited` if only the picture is the set's: its labels do not apply to other words.
    """

    image: ImageSource | None
    text: str
    eval_set: EvalSet | None = None
    eval_query: EvalQuery | None = None
    exclude_query_image: bool = False
    is_edited: bool = False
    more: tuple[ImageSource, ...] = ()
    without: Query | None = None
    without_weight: float = 0.5

    def query(self) -> Query:
        """The query as a searcher takes it."""
        images = () if self.image is None else (self.image, *self.more)
        return Query(
            text=self.text or None,
            images=images,
            without=self.without,
            without_weight=self.without_weight,
        )

    def digest(self) -> str:
        """A digest of pictures and text."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [_bytes_of(image) for image in (self.image, *self.more)]
        whole = b"\0".join([*parts, self.text.encode(), bytes([self.exclude_query_image])])
        if self.without is not None:
            unwanted = [_bytes_of(image) for image in self.without.images]
            words = f"{self.without.text} {self.without_weight}".encode()
            whole = b"\0".join([whole, *unwanted, words])
        return hashlib.sha256(whole).hexdigest()


def _bytes_of(image: ImageSource | None) -> bytes:
    return image if isinstance(image, bytes) else os.fspath(str(image or "")).encode()


def choose_query(found: Mapping[str, CollectionInfo]) -> ChosenQuery | None:
    """Draw the panel; return None until there is a picture or a text.

    Args:
        found: the collections, by name.
    """
    sources = list(SOURCES)
    st.segmented_control(
        "Query",
        sources,
        default=sources[url.before("source", sources, "set")],
        required=True,
        format_func=SOURCES.__getitem__,
        key="source",
        persist_state="session",
        label_visibility="collapsed",
    )
    return _from_set(found) if url.after("source", "set") == "set" else _own_picture()


def _from_set(found: Mapping[str, CollectionInfo]) -> ChosenQuery | None:
    names = list(known_eval_sets())
    if not names:
        st.info("There is no eval set here. `mmrag eval-set import` makes one.")
        return None
    show = shows.first(found)
    first = show.folder.name if show and show.folder.name in names else names[0]
    at = url.before("set", names, first)
    row = st.container(horizontal=True, gap="small", key="query_steps")
    chooser = row.popover(
        "Choose", help="All queries, with their pictures", key="browse", on_change="rerun"
    )
    with chooser:
        st.selectbox(
            "Eval set",
            names,
            index=at,
            key="set",
            persist_state="session",
            on_change=_forget_query,
        )
    name = url.after("set", first)
    eval_set = resources.eval_set(name)
    by_id = {query.query_id: query for query in eval_set.queries}
    if not by_id:
        st.info("This eval set has no queries.")
        return None
    ids = list(by_id)
    at = url.before("query", ids, ids[0])
    with chooser:
        st.selectbox(
            "Labelled query",
            ids,
            index=at,
            format_func=lambda i: f"{i} · {by_id[i].text or '(picture alone)'}",
            key="query",
            persist_state="session",
            on_change=_forget_text,
        )
        chosen: EvalQuery = by_id[url.after("query", ids[0])]
        if chooser.open:
            _browse(eval_set)
    with row:
        step = len(ids)
        at = ids.index(chosen.query_id)
        _go_button("Previous", ":material/chevron_left:", ids[(at - 1) % step])
        _go_button("Next", ":material/chevron_right:", ids[(at + 1) % step])
        _go_button("Random", None, random.choice(ids))
    about = [name, chosen.query_id, chosen.category, f"{at + 1:,} of {step:,}"]
    st.caption(escaped(" · ".join(filter(None, about))))
    own_words = chosen.text or ""
    text = _instruction(own_words, (name, chosen.query_id))
    edited = text != own_words.strip()
    if edited:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("Edited, so the hits are not judged: the labels belong to other words.")
            st.button("Undo the edit", icon=":material/undo:", on_click=_forget_text)
    readable = _draw([data_url(image, 320) for image in chosen.images])
    if chosen.without is not None:
        names = [Path(str(path)).name for path in chosen.without.images]
        unwanted = ", ".join(filter(None, [chosen.without.text, *names]))
        st.text(f"Without: {unwanted} (weight {chosen.without_weight:g})")
    if not chosen.image and not text:
        st.info("This query has no picture: give it an instruction.")
        return None
    if not readable:
        return None
    exclude = eval_set.exclude_query_image
    asked = ChosenQuery(
        chosen.image,
        text,
        exclude_query_image=exclude,
        more=chosen.more_images,
        without=chosen.without,
        without_weight=chosen.without_weight,
    )
    if edited:
        return replace(asked, is_edited=True)
    return replace(asked, eval_set=eval_set, eval_query=chosen)


def _own_picture() -> ChosenQuery | None:
    pictures = own_pictures.choose()
    readable = _draw([picture.src for picture in pictures])
    if not pictures:
        url.named_after("picture", [])
    else:
        if readable:
            own_pictures.offer_link(pictures)
        own_pictures.remove_button(len(pictures))
    text = _instruction("", "own")
    if not pictures and not text:
        st.info("Give a picture, an instruction, or both.")
        return None
    if not readable:
        return None
    return ChosenQuery(
        pictures[0].data if pictures else None,
        text,
        exclude_query_image=bool(pictures) and st.session_state.get("own_picture_is_hit", False),
        more=tuple(picture.data for picture in pictures[1:]),
    )


def use_as_query(data: bytes) -> None:
    """Make a picture of the gallery the next query ("more like this")."""
    st.session_state.source = "own"
    own_pictures.take([data], is_hit=True)
    _forget_text()


def _instruction(default: str, of: object) -> str:
    st.text_area(
        "Instruction",
        url.text_before("text", default, of),
        key="text",
        height=80,
        max_chars=2000,
        placeholder="phone case with this image theme",
    )
    return url.text_after("text", default).strip()


def _go_button(label: str, icon: str | None, query_id: str) -> None:
    def go() -> None:
        st.session_state.query = query_id
        _forget_text()

    st.button(label, icon=icon, on_click=go)


def _browse(eval_set: EvalSet) -> None:
    categories = sorted({query.category for query in eval_set.queries if query.category})
    wanted = None
    if categories:
        wanted = st.pills("Category", categories, format_func=escaped, key="browse_category")
    matching = [q for q in eval_set.queries if wanted is None or q.category == wanted]
    pages = -(-len(matching) // PER_PAGE)
    page = st.pagination(max(1, pages), key=f"browse_page_{wanted}")
    tiles = [
        Tile(
            id=query.query_id,
            src=data_url(query.image, 120) if query.image else None,
            label=f"{query.query_id}: {query.text or 'picture alone'}",
            caption=query.text or "(picture alone)",
            missing="" if query.image else "text",
        )
        for query in matching[(page - 1) * PER_PAGE : page * PER_PAGE]
    ]
    clicked = picture_grid(tiles, key=f"browse_{wanted}_{page}")
    if clicked:
        st.session_state.next_query = clicked
        st.rerun()


def apply_pending() -> None:
    """Apply a choice made below the widgets that show it; call before they are drawn."""
    clicked = st.session_state.pop("next_query", None)
    if clicked:
        st.session_state.query = clicked
        _forget_text()
    data = st.session_state.pop("next_picture", None)
    if data:
        use_as_query(data)
    like = st.query_params.pop("like", None)
    if like:
        collection, _, image_id = like.partition(":")
        _search_like(collection, image_id)


def _search_like(collection: str, image_id: str) -> None:
    """Follow a link from the Gallery page: search a collection with one of its pictures."""
    row = resources.index(resources.uri(), collection).get([image_id], ["path"]).get(image_id)
    if row is None:
        raise MmragError(f"The collection {collection} holds no image {image_id} any more.")
    use_as_query(read_bytes(row["path"]))
    st.session_state.left_collection = st.session_state.right_collection = collection


def _forget_query() -> None:
    if shows.of_set(st.session_state.get("set")):
        shows.forget_sides()
    st.session_state.pop("query", None)
    _forget_text()


def _forget_text() -> None:
    st.session_state.text_of = None


def _draw(urls: Sequence[str | None]) -> bool:
    """Draw the query's pictures, None for unreadable ones; return whether all are readable."""
    shown = [url for url in urls if url is not None]
    if len(shown) < len(urls):
        words = "This picture" if len(urls) == 1 else "One of these pictures"
        st.warning(f"{words} cannot be read. Choose another one.", icon=":material/error:")
    if shown:
        with st.container(key="query_picture", horizontal=True):
            for url in shown:
                st.image(url, width=220 // min(len(shown), 2), alt="the query picture")
    return len(shown) == len(urls)
