"""Judging hits on the Search page, and saving the query with them to an eval set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import streamlit as st

from mmrag.errors import ImageError, MmragError
from mmrag.eval_sets.known_sets import own_eval_sets
from mmrag.types import GalleryImage, Hit
from mmrag.ui import resources
from mmrag.ui.doors import may_change
from mmrag.ui.evaluate_link import evaluate_link
from mmrag.ui.navigation import show_error
from mmrag.ui.picture_grid import Tile, grid_words, picture_grid

if TYPE_CHECKING:
    from mmrag.ui.panels.query_input import ChosenQuery

NEW = "A new eval set"
KEYS = (
    "Judge what was found: 3 right, 2 partly, 1 wrong, 0 clears, u undoes, arrows move; or the "
    "buttons below a picture."
)


@dataclass
class _Said:
    """A visitor's judgments of one query's hits, by path; None if withdrawn."""

    grades: dict[str, tuple[GalleryImage, int | None]] = field(default_factory=dict)
    history: list[tuple[str, int | None]] = field(default_factory=list)

    def say(self, image: GalleryImage, grade: int | None) -> None:
        before = self.grades.get(image.path)
        self.history.append((image.path, before[1] if before else None))
        self.grades[image.path] = image, grade

    def undo(self) -> None:
        if self.history:
            path, grade = self.history.pop()
            self.grades[path] = self.grades[path][0], grade


def judged_grid(
    tiles: Sequence[Tile], hits: Sequence[Hit], chosen: ChosenQuery, *, key: str
) -> str | None:
    """Draw hits to judge right, partly or wrong by click or key; return the clicked one."""
    if not may_change():
        return picture_grid(tiles, key=key)
    of = chosen.digest()
    kept: dict[str, dict[str, Hit]] = st.session_state.setdefault(f"{key}_hits", {})
    kept[of] = {**kept.get(of, {}), **{hit.image_id: hit for hit in hits}}
    # Words may still arrive when the next query is shown, but not after the one that follows.
    for old in list(kept)[:-2]:
        del kept[old]
    last: dict[str, int] = st.session_state.setdefault("grid_words", {})
    for word in grid_words(key):
        hit = kept.get(word.of, {}).get(word.image_id)
        if word.number <= last.get(key, 0):
            continue
        last[key] = word.number
        if word.undo:
            _said(word.of).undo()
        elif hit is not None:
            image = GalleryImage(hit.image_id, hit.path, hit.text, hit.metadata)
            _said(word.of).say(image, word.grade)
    grades = _said(of).grades
    paths = {hit.image_id: hit.path for hit in hits}
    graded = [replace(tile, grade=grades.get(paths[tile.id], (None, None))[1]) for tile in tiles]
    return picture_grid(graded, key=key, judging=(of, last.get(key, 0)))


def save_panel(
    chosen: ChosenQuery, collection: str, configurations: Sequence[tuple[str, str | None]]
) -> None:
    """Save the query and the judgments of its hits to a new or existing eval set.

    Args:
        chosen: the query.
        collection: whose pictures a new set holds.
        configurations: encoder and reranker of each side that answered it.
    """
    if not may_change():
        return
    said = _said(chosen.digest())
    grades = [grade for _, grade in said.grades.values() if grade is not None]
    judged = "1 picture judged" if len(grades) == 1 else f"{len(grades)} pictures judged"
    with st.expander(f"Save query to … ({judged})", icon=":material/playlist_add:", key="save_to"):
        st.caption(KEYS)
        own = own_eval_sets()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            if "next_save_set" in st.session_state:
                st.session_state.save_set = st.session_state.pop("next_save_set")
            # Each page remembers the chosen set under its own key.
            target = st.selectbox("Save query to", [*own, NEW], key="save_set")
            name = ""
            if target == NEW:
                name = st.text_input("Its name", key="save_name", max_chars=60).strip()
            judge = st.text_input("Your name", key="save_judge", max_chars=100).strip()
        note = st.text_area("Note on the query", key="save_note", height=68, max_chars=2000)
        new = collection if target == NEW else None
        ready = bool(judge and (target != NEW or name))
        if not ready:
            st.caption("Type your name: each judgment remembers who made it.")
        if st.button("Save query", icon=":material/save:", disabled=not ready, key="save_query"):
            try:
                with st.spinner("Saving …"):
                    said_so = _save(chosen, said, name or target, new, judge, note)
            except (MmragError, ImageError) as error:
                show_error(error)
                return
            st.session_state.saved_query = (chosen.digest(), said_so, name or target, judge)
            # The list may have a new set, to be chosen for the next query.
            st.session_state.next_save_set = name or target
            st.rerun()
        of, words, where, by = st.session_state.get("saved_query", ("", "", "", ""))
        if of == chosen.digest():
            st.text(words)
            with st.container(horizontal=True):
                st.page_link(
                    st.Page(resources.page("judge"), url_path="judge"),
                    label="Judge more of it",
                    icon=":material/fact_check:",
                    query_params={"set": where, "judge": by},
                )
                evaluate_link(where, configurations)


def _save(
    chosen: ChosenQuery, said: _Said, name: str, collection: str | None, judge: str, note: str
) -> str:
    from mmrag.labels.drafting import set_of_collection
    from mmrag.labels.queries import AskedQuery, new_set_folder, save_query

    if collection is not None:
        folder = new_set_folder(name)
        set_of_collection(resources.index(resources.uri(), collection), folder, name)
    else:
        folder = own_eval_sets()[name]
    asked = AskedQuery(chosen.query(), list(said.grades.values()), note)
    query_id = save_query(folder, asked, judge)
    given = [grade for _, grade in said.grades.values() if grade is not None]
    with_them = "1 judgment" if len(given) == 1 else f"{len(given)} judgments"
    return f"Saved to {name} as {query_id}, with {with_them}."


def _said(of: str) -> _Said:
    kept: dict[str, _Said] = st.session_state.setdefault("said", {})
    return kept.setdefault(of, _Said())
