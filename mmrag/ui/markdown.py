"""Commands, and text from data in the few places where Streamlit takes only Markdown."""

from __future__ import annotations

import re

import streamlit as st


def command(text: str) -> None:
    """Show a command or program to copy: wrapped, and in one legible colour."""
    st.code(text, language=None, wrap_lines=True)


def escaped(text: str) -> str:
    """The text, escaped as Markdown: no pictures from elsewhere, no links, no icons."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
