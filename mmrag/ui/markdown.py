"""Text from data in the few places where Streamlit takes Markdown only, and commands."""

from __future__ import annotations

import re

import streamlit as st


def command(text: str) -> None:
    """A command or program to copy: wrapped, and in one colour that is legible."""
    st.code(text, language=None, wrap_lines=True)


def escaped(text: str) -> str:
    """The text as Markdown that shows just it: no pictures from elsewhere, no links, no icons."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
