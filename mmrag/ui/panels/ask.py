"""Asking a question about the best match."""

from __future__ import annotations

import streamlit as st

from mmrag.errors import MmragError
from mmrag.images.thumbnails import data_url
from mmrag.search.answer import Answer, stream_answer
from mmrag.types import SearchResult
from mmrag.ui.doors import only_owners
from mmrag.ui.markdown import escaped
from mmrag.ui.navigation import show_error
from mmrag.ui.spent import spent
from mmrag.vision.endpoint import endpoint_or_problem

ANSWERS_KEPT = 20


def ask_panel(shown: dict[str, SearchResult], titles: dict[str, str]) -> None:
    """Draw the question field; stream the answer when it is sent.

    Args:
        shown: side to its result; the one with reranking is asked first.
        titles: of the sides, in words.
    """
    first = next((name for name, one in shown.items() if one.rerank), next(iter(shown)))
    with st.expander("Ask about the best match", icon=":material/chat:"):
        _, problem = endpoint_or_problem()
        if problem:
            st.caption(f"There is no vision model to ask. {escaped(problem)}")
            return
        with st.form("ask", border=False):
            question = st.text_input(
                "Question", placeholder="What does it cost?", max_chars=1000, key="question"
            )
            with st.container(horizontal=True, vertical_alignment="bottom"):
                name = st.segmented_control(
                    "Best match of",
                    list(shown),
                    default=first,
                    required=True,
                    format_func=lambda side: f"{side.capitalize()}: {escaped(titles[side])}",
                    key="ask_side",
                )
                images = st.number_input("Pictures sent", 1, 9, 1, key="ask_images", width=130)
                compare = st.checkbox("Compare with no retrieval", key="ask_compare")
            sent = st.form_submit_button("Ask", icon=":material/send:")
        result = shown[name]
        if not sent or not question.strip():
            st.caption("The picture, its description and the question go to the vision model.")
            return
        try:
            st.caption(escaped(f"{name.capitalize()}: {titles[name]}"))
            _answer("From the best match", question, result, int(images))
            if compare:
                _answer("Without retrieval", question, result, 0)
        except MmragError as error:
            show_error(error)


def _answer(title: str, question: str, result: SearchResult, images: int) -> None:
    """Answer from the first `images` hits, or (0) from the query alone."""
    st.markdown(f"**{title}**")
    place = st.empty()
    kept: dict[tuple[object, ...], Answer] = st.session_state.setdefault("answers", {})
    hits = result.hits if images else []
    key = (question, images, tuple(hit.path for hit in hits[:images]), id(result))
    answer = kept.get(key)
    if answer is None:
        from mmrag.vision.model import VisionModel

        only_owners("Asking a paid model")
        with place.container():
            st.spinner("Waiting for the model …")
        stream = stream_answer(
            question,
            VisionModel(),
            hits=hits,
            query=result.query,
            images=max(1, images),
        )
        said = ""
        try:
            for piece in stream:
                said += piece
                place.text(said)
        except MmragError:
            paid = stream.answer.usage
            if paid.requests:
                st.caption(spent(paid))
            raise
        answer = kept[key] = stream.answer
        while len(kept) > ANSWERS_KEPT:
            del kept[next(iter(kept))]
    place.text(answer.answer or "(no answer)")
    if answer.problem:
        with st.container(border=True):
            st.markdown(":material/info: **The answer is incomplete**")
            # As text: it may quote the model, and its Markdown could fetch pictures from anywhere.
            st.text(answer.problem)
    used = [hit for hit in hits if hit.image_id in answer.image_ids]
    if used:
        with st.container(horizontal=True):
            for hit in used:
                url = data_url(hit.path, 120)
                if url:
                    st.image(url, width=96, alt=hit.text or hit.image_id)
    st.caption(spent(answer.usage))
