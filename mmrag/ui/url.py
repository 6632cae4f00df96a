"""Choices that stand in the URL under their own short names, so that a link opens the same view.

Streamlit's `bind="query-params"` would write the label that a choice is shown with. What a run of
a page chooses is written at its end, as one step of the browser's history; Back takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from mmrag.ui.markdown import escaped

# What a link may name, in words.
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

# What another tab may take away while this one shows it.
_TAKEN_AWAY = {"left_collection", "right_collection"}


@dataclass(frozen=True)
class _Chosen:
    """What a run of a page has under a key, and whether a link need not name it."""

    values: list[str]
    is_default: bool
    changing: bool


def run_page(name: str, main: Callable[[], None]) -> None:
    """Draw a page, say what its link named and is not here, and write its choices."""
    if st.session_state.get("url_page") != name:
        # Choices of another visit to this page stay; what the URL said then is over.
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
    """Call before the widget with this key: takes over what a link says, else keeps the choice.

    Returns:
        The choice's index, which the widget must be given. Streamlit forgets what it has not yet
        sent of a run when the next begins, and with it that session state had set a widget; the
        browser then begins with what the widget itself says, and sends that back.
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
    """Call after the widget: its choice will be in the URL; returns it."""
    value: str = st.session_state[key]
    _write(key, [value], [default])
    return value


def number_before(key: str, low: int, high: int, default: int) -> int:
    """As `before`, for a whole number in a range; returns the number."""
    linked = _moved_to(key)
    if linked is not None:
        said = linked[0] if linked else str(default)
        st.session_state[key] = int(said) if said.isdecimal() and len(said) < 9 else default
    kept = st.session_state.get(key)
    value = st.session_state[key] = default if kept is None else min(high, max(low, int(kept)))
    return value


def number_after(key: str, default: int) -> int:
    """As `after`, for a whole number."""
    value = int(st.session_state[key])
    _write(key, [str(value)], [str(default)])
    return value


def text_before(key: str, default: str, of: object) -> str:
    """As `before`, for a text that belongs to something: with another `of`, it begins anew.

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
    """As `after`, for a text."""
    value = str(st.session_state[key] or "")
    _write(key, [value], [default])
    return value


def named_before(key: str) -> list[str]:
    """The values that a link newly names under this key, for a key that no widget has."""
    return _moved_to(key) or []


def named_after(key: str, values: Sequence[str]) -> None:
    """Put these into the URL; none take the key away."""
    _write(key, list(values))


def tabs(key: str, labels: Mapping[str, str]) -> Sequence[Any]:
    """Tabs by their short names; only the `open` one need be drawn. The first is the default."""
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
    """As `before`, for a widget with several choices; returns them."""
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
        # All of them gone: they belonged to something else.
        st.session_state[key] = kept if kept or not st.session_state[key] else list(default)
    return list(st.session_state[key])


def after_many(key: str, default: Sequence[str], *, changing: bool = False) -> list[str]:
    """As `after`, for a widget with several choices.

    With `changing`, the default may be another one tomorrow: then it is named too, as soon as the
    link says anything else. A page that did so at once could not be left by Back.
    """
    values: list[str] = list(st.session_state[key])
    _write(key, values, list(default), changing=changing)
    return values


def commit() -> None:
    """Write what was chosen into the URL, in one step of the browser's history."""
    chosen: dict[str, _Chosen] = st.session_state.pop("url_chosen", {})
    now = {key: st.query_params.get_all(key) for key in st.query_params}
    # A default that the link names stays there: to take it out would be a step that Back undoes.
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
        # Where Streamlit itself keeps a widget's value in the URL, nobody else may set it.
        st.query_params.update({key: changed[key] for key in changed if key not in gone})
        for key in gone:
            del st.query_params[key]


def _moved_to(key: str) -> list[str] | None:
    """The URL's present words, if they are not those that this page last wrote there."""
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
    """Say above the page that the link named what is not here."""
    what = _WORDS.get(key, key)
    st.session_state.setdefault("url_gone", []).append(
        f"The link names {what} “{value[:100]}”, which is not here. This is shown instead."
    )


def _seen() -> dict[str, list[str]]:
    seen: dict[str, list[str]] = st.session_state.setdefault("url_seen", {})
    return seen
