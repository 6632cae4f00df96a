"""Choices kept in the URL under short names of their own, so that a link opens the same view.

Streamlit's `bind="query-params"` would write the displayed label of a choice. The choices of a page
run are written at its end, as one step of the browser's history; Back undoes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from mmrag.ui.markdown import escaped

# Words for what a link may name.
_WORDS = {
    "set": "the eval set",
    "query": "the query",
    "left_collection": "the collection",
    "right_collection": "the collection",
    "collection": "the collection",
    "left_rerank": "the reranking",
    "right_rerank": "the reranking",
    "runs": "the run",
    "picture": "the picture",
}

# Values that another tab may remove while this one shows them.
_TAKEN_AWAY = {"left_collection", "right_collection"}


@dataclass(frozen=True)
class _Chosen:
    """The values of a page run under a key, and whether a link may omit them."""

    values: list[str]
    is_default: bool
    changing: bool


def run_page(name: str, main: Callable[[], None]) -> None:
    """Draw a page, say what its link named that is not here, and write its choices."""
    if st.session_state.get("url_page") != name:
        # Choices from an earlier visit to this page stay; its URL no longer counts.
        st.session_state.url_page, st.session_state.url_seen = name, {}
    place = st.container()
    st.session_state.url_gone = []
    try:
        main()
    finally:
        commit()
    if st.session_state.url_gone:
        place.warning(
            "  \n".join(escaped(words) for words in st.session_state.url_gone),
            icon=":material/link_off:",
        )


def before(key: str, options: Sequence[str], default: str) -> int:
    """Call before the widget with this key: apply the link's value, else keep the choice.

    Returns:
        The choice's index, which the widget must be given. When the next run begins, Streamlit
        forgets what it has not yet sent of the last one, including that session state had set a
        widget; the browser then starts from the widget's own index, and sends that back.
    """
    linked = _moved_to(key)
    value = linked[0] if linked else default
    kept = st.session_state.get(key)
    if linked is not None and value in options:
        st.session_state[key] = value
    elif kept not in options or (linked and value not in options):
        st.session_state[key] = default
        if linked is None and kept is not None and key in _TAKEN_AWAY:
            gone(key, kept)
    if linked and value not in options:
        gone(key, value)
    return options.index(st.session_state[key])


def after(key: str, default: str) -> str:
    """Call after the widget: put its choice into the URL; return it."""
    value: str = st.session_state[key]
    _write(key, [value], [default])
    return value


def number_before(key: str, low: int, high: int, default: int) -> int:
    """Like `before`, for a whole number in a range; return the number."""
    linked = _moved_to(key)
    if linked is not None:
        said = linked[0] if linked else str(default)
        st.session_state[key] = int(said) if said.isdecimal() and len(said) < 9 else default
    kept = st.session_state.get(key)
    value = st.session_state[key] = default if kept is None else min(high, max(low, int(kept)))
    return value


def number_after(key: str, default: int) -> int:
    """Like `after`, for a whole number."""
    value = int(st.session_state[key])
    _write(key, [str(value)], [str(default)])
    return value


def text_before(key: str, default: str, of: object) -> str:
    """Like `before`, for a text that belongs to something: another `of` resets it.

    Returns:
        The text, which the widget must be given.
    """
    linked = _moved_to(key)
    if linked is not None and (linked or st.session_state.get(f"{key}_of") == of):
        st.session_state[key] = linked[0] if linked else default
    elif st.session_state.get(f"{key}_of") != of or key not in st.session_state:
        st.session_state[key] = default
    st.session_state[f"{key}_of"] = of
    return st.session_state[key] or ""


def text_after(key: str, default: str) -> str:
    """Like `after`, for a text."""
    value = str(st.session_state[key] or "")
    _write(key, [value], [default])
    return value


def named_before(key: str) -> list[str]:
    """The values that a link newly names under a key without a widget."""
    return _moved_to(key) or []


def named_after(key: str, values: Sequence[str]) -> None:
    """Put these values into the URL; without any, the key is removed."""
    _write(key, list(values))


def tabs(key: str, labels: Mapping[str, str]) -> Sequence[Any]:
    """Draw tabs by short names; only the `open` one need be filled. The first is the default."""
    short = {label: name for name, label in labels.items()}
    first = next(iter(labels))
    linked = _moved_to(key)
    if linked is not None:
        st.session_state[key] = labels.get(linked[0] if linked else first, labels[first])
    drawn = st.tabs(list(labels.values()), key=key, on_change="rerun")
    name = short[st.session_state[key]]
    _write(key, [name], [first])
    return drawn


def before_many(key: str, options: Sequence[str], default: Sequence[str]) -> list[str]:
    """Like `before`, for a widget with several choices; return them."""
    linked = _moved_to(key)
    if linked:
        for value in linked:
            if value not in options:
                gone(key, value)
        found = [value for value in linked if value in options]
        st.session_state[key] = found or list(default)
    elif linked is not None or key not in st.session_state:
        st.session_state[key] = list(default)
    else:
        kept = [v for v in st.session_state[key] if v in options]
        # If all are gone, they belonged to something else.
        st.session_state[key] = kept if kept or not st.session_state[key] else list(default)
    return list(st.session_state[key])


def after_many(key: str, default: Sequence[str], *, changing: bool = False) -> list[str]:
    """Like `after`, for a widget with several choices.

    With `changing`, the default may be different tomorrow, so it is named too, as soon as the link
    names anything else. A page that named it at once could not be left by Back.
    """
    values: list[str] = list(st.session_state[key])
    _write(key, values, list(default), changing=changing)
    return values


def commit() -> None:
    """Write the choices into the URL, as one step of the browser's history."""
    chosen: dict[str, _Chosen] = st.session_state.pop("url_chosen", {})
    now = {key: st.query_params.get_all(key) for key in st.query_params}
    # A default that the link names stays there: removing it would be a step for Back to undo.
    written = {
        key: [] if one.is_default and one.values != now.get(key) else one.values
        for key, one in chosen.items()
    }
    if any(values != now.get(key, []) for key, values in written.items()):
        written |= {key: one.values for key, one in chosen.items() if one.changing}
    _seen().update(written)
    changed = {key: values for key, values in written.items() if values != now.get(key, [])}
    gone = [key for key, values in changed.items() if not values]
    if not changed:
        return
    kept = {key: values for key, values in (now | changed).items() if values}
    try:
        st.query_params.from_dict(kept)
    except StreamlitAPIException:
        # If Streamlit itself keeps a widget's value in the URL, no other code may set it.
        st.query_params.update({key: changed[key] for key in changed if key not in gone})
        for key in gone:
            del st.query_params[key]


def _moved_to(key: str) -> list[str] | None:
    """The URL's present values, if they differ from those that this page last wrote."""
    now = st.query_params.get_all(key)
    if key in _seen():
        return now if now != _seen()[key] else None
    return now or None


def _write(
    key: str, values: list[str], default: list[str] | None = None, *, changing: bool = False
) -> None:
    chosen = st.session_state.setdefault("url_chosen", {})
    chosen[key] = _Chosen(values, values == default, changing)


def gone(key: str, value: str) -> None:
    """Say above the page that the link named something that is not here."""
    what = _WORDS.get(key, key)
    st.session_state.setdefault("url_gone", []).append(
        f"The link names {what} “{value[:100]}”, which is not here. This is shown instead."
    )


def _seen() -> dict[str, list[str]]:
    seen: dict[str, list[str]] = st.session_state.setdefault("url_seen", {})
    return seen
