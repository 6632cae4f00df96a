"""Drafted queries, accepted, edited or rejected one by one."""

from __future__ import annotations

import streamlit as st

from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.images.thumbnails import data_url
from mmrag.labels.drafts import Draft, DraftFile
from mmrag.ui.field_key import field_key
from mmrag.ui.markdown import command
from mmrag.ui.navigation import show_error

_SHOWN = 5


def drafts_panel(eval_set: EvalSet, file: DraftFile, judge: str) -> None:
    """Draw one draft at a time, with both pictures and the words between them."""
    drafts = file.drafts()
    waiting = [draft for draft in drafts if draft.state == "waiting"]
    counts = {state: sum(d.state == state for d in drafts) for state in ("accepted", "rejected")}
    st.text(
        f"{len(waiting)} waiting, {counts['accepted']} accepted, {counts['rejected']} rejected."
    )
    if not waiting:
        st.info("No draft is waiting. Propose some from a collection:")
        command(
            f"mmrag eval-set draft COLLECTION --out {eval_set.folder} --queries 200",
        )
        return
    _draft(eval_set, file, waiting[0], judge)


def _draft(eval_set: EvalSet, file: DraftFile, draft: Draft, judge: str) -> None:
    shown = eval_set.present([draft.image_id, draft.target_id, *draft.negatives, *draft.fitting])

    def picture(image_id: str, label: str) -> None:
        src = data_url(shown[image_id].path, 480) if image_id in shown else None
        st.text(label)
        if src:
            st.image(src)
        else:
            st.text(f"{image_id} cannot be read")

    left, middle, right = st.container(key="draft_pair").columns(3)
    with left:
        picture(draft.image_id, "From this picture")
    with right:
        picture(draft.target_id, "to this one")
    with middle:
        of = (str(eval_set.folder), draft.query_id)
        if st.session_state.get("draft_of") != of or "draft_text" not in st.session_state:
            st.session_state.draft_of, st.session_state.draft_text = of, draft.text
        # One field for all drafts: with one each, two were visible for a moment.
        text = st.text_area("Instruction", key="draft_text")
        field_key(".st-key-draft_text textarea", "e", key="draft_edit")
        with st.container(horizontal=True):
            accepted = st.button("Accept", type="primary", shortcut="a", key="draft_accept")
            rejected = st.button("Reject", shortcut="x", key="draft_reject")
        st.text(f"Proposed by {draft.by}. Keys: a accepts, e edits (Esc when done), x rejects.")
        if draft.needs:
            st.text(f"By the check: {draft.needs}.")
        for paraphrase in draft.paraphrases:
            st.text(f"or: {paraphrase}")
    others = st.container(key="draft_others")
    for words, ids in (
        ("Right too, unless you edit the instruction:", draft.fitting[:_SHOWN]),
        ("Judged wrong with it, because they do not fit:", draft.negatives[:_SHOWN]),
    ):
        if ids:
            others.text(words)
            for column, image_id in zip(others.columns(_SHOWN), ids, strict=False):
                with column:
                    picture(image_id, "")
    if accepted:
        try:
            file.accept(draft.query_id, judge, text)
        except MmragError as error:
            show_error(error)
            return
        st.rerun()
    if rejected:
        file.reject(draft.query_id, judge)
        st.rerun()
