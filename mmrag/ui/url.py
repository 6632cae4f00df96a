"""Choices that stand in the URL under their own short names, so that a link opens the same view.

Streamlit's `bind="query-params"` would write the label that a choice is shown with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def before(key: str, options: Sequence[str], default: str) -> None:
    """Call before the widget with this key: takes over what a link says, else keeps the choice."""
    linked = st.query_params.get(key)
    if linked in options and (linked != _seen().get(key) or key not in st.session_state):
        st.session_state[key] = linked
    elif st.session_state.get(key) not in options:
        st.session_state[key] = default


def after(key: str, default: str) -> str:
    """Call after the widget: writes the choice into the URL; returns it."""
    value: str = st.session_state[key]
    _write(key, value, default)
    return value


def tabs(key: str, labels: Mapping[str, str]) -> Sequence[Any]:
    """Tabs by their short names; only the `open` one need be drawn. The first is the default."""
    short = {label: name for name, label in labels.items()}
    linked = st.query_params.get(key, "")
    if linked in labels and (linked != _seen().get(key) or key not in st.session_state):
        st.session_state[key] = labels[linked]
    drawn = st.tabs(list(labels.values()), key=key, on_change="rerun")
    _write(key, short[st.session_state[key]], next(iter(labels)))
    return drawn


def before_many(key: str, options: Sequence[str], default: Sequence[str]) -> None:
    """As `before`, for a widget with several choices."""
    linked = [value for value in st.query_params.get_all(key) if value in options]
    if linked and (linked != _seen_many().get(key) or key not in st.session_state):
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


def _write(key: str, value: str, default: str) -> None:
    _seen()[key] = value
    if value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value


def _seen() -> dict[str, str]:
    seen: dict[str, str] = st.session_state.setdefault("url_seen", {})
    return seen


def _seen_many() -> dict[str, list[str]]:
    seen: dict[str, list[str]] = st.session_state.setdefault("url_seen_many", {})
    return seen
