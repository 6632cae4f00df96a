"""A link from labels to numbers: the Evaluate page, with the present configurations chosen."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from mmrag.ui import resources


def evaluate_link(eval_set: str, configurations: Iterable[tuple[str, str | None]]) -> None:
    """Draw a link to the Evaluate page.

    Args:
        eval_set: the set, by its folder's name.
        configurations: encoder and reranker, None without one; those not offered there are left
            out.
    """
    pairs = list(configurations)
    offered = resources.encoder_names()
    encoders = [name for name in dict.fromkeys(one for one, _ in pairs) if name in offered]
    choices = resources.reranker_choices()
    rerankers = [key for key in dict.fromkeys(one or "none" for _, one in pairs) if key in choices]
    params = [("eval_set", eval_set)]
    params += [("encoders", name) for name in encoders]
    params += [("rerankers", key) for key in rerankers]
    st.page_link(
        st.Page(resources.page("evaluate"), url_path="evaluate"),
        label="Evaluate this set",
        icon=":material/play_circle:",
        query_params=params,
    )
