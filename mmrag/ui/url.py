"""Choices that stand in the URL under their own short names, so that a link opens the same view.

Streamlit's `bind="query-params"` would write the label that a choice is shown with.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def before(key: str, options: Sequence[str], default: str) -> None:
    """Call before the widget with this key: takes over what a link says, else keeps the choice."""
    linked = st.query_params.get(key)
    if linked is not None and linked != _seen().get(key) and linked in options:
        st.session_state[key] = linked
    elif st.session_state.get(key) not in options:
        st.session_state[key] = default


def after(key: str, default: str) -> str:
    """Call after the widget: writes the choice into the URL; returns it."""
    value: str = st.session_state[key]
    _seen()[key] = value
    if value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value
    return value


def before_many(key: str, options: Sequence[str], default: Sequence[str]) -> None:
    """As `before`, for a widget with several choices."""
    linked = [value for value in st.query_params.get_all(key) if value in options]
    if linked and linked != _seen_many().get(key):
        st.session_state[key] = linked
    elif key not in st.session_state:
        st.session_state[key] = list(default)
    else:
        st.session_state[key] = [v for v in st.session_state[key] if v in options]


def after_many(key: str) -> list[str]:
    """As `after`, for a widget with several choices."""
    values: list[str] = list(st.session_state[key])
    _seen_many()[key] = values
    if st.query_params.get_all(key) != values:
        st.query_params[key] = values
    return values


def _seen() -> dict[str, str]:
    seen: dict[str, str] = st.session_state.setdefault("url_seen", {})
    return seen


def _seen_many() -> dict[str, list[str]]:
    seen: dict[str, list[str]] = st.session_state.setdefault("url_seen_many", {})
    return seen
