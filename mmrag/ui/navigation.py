"""Page configuration, sign-in, and which pages there are."""

from __future__ import annotations

import hmac
import os
import threading
import time
from pathlib import Path

import streamlit as st

from mmrag.ui.doors import enter

_HERE = Path(__file__).parent
WRONG_PASSWORD_SECONDS = 1.0

# Title, icon, and what the page is for.
PAGES = {
    "search": (
        "Search",
        ":material/image_search:",
        "mmrag finds pictures by a picture and an instruction; here two configurations answer "
        "side by side.",
    ),
    "evaluate": (
        "Evaluate",
        ":material/play_circle:",
        "Let encoders and rerankers answer a whole set of labelled queries.",
    ),
    "judge": (
        "Judge",
        ":material/rule:",
        "Say for each picture whether it is what the query asks for. Your words become the labels "
        "that evaluations count with.",
    ),
    "runs": (
        "Runs",
        ":material/bar_chart:",
        "What evaluations found: which configuration is better, by how much, and for which "
        "queries.",
    ),
    "speed": (
        "Speed",
        ":material/speed:",
        "How fast encoding, search and queries are, on which machine, and what that costs.",
    ),
    "gallery": (
        "Gallery",
        ":material/grid_view:",
        "The pictures that are searched: look through them, add your own.",
    ),
    "health": (
        "Health",
        ":material/monitor_heart:",
        "What works on this machine, and what to do about the rest.",
    ),
}


def run() -> None:
    """Draw the page that the URL names."""
    st.set_page_config(page_title="mmrag", page_icon=str(_HERE / "icon.png"), layout="wide")
    _sign_in()
    pages = []
    for name, (title, icon, _) in PAGES.items():
        file = _HERE / "pages" / f"{name}.py"
        if file.exists():
            first = name == "search"
            pages.append(st.Page(file, title=title, icon=icon, url_path=name, default=first))
    from mmrag.errors import MmragError

    page = st.navigation(pages, position="top")
    st.set_page_config(page_title=f"{page.title} · mmrag")
    st.html(_HERE / "page.css")
    st.title(page.title, anchor=False)
    words = {title: words for title, _, words in PAGES.values()}
    with st.container(key="page_words"):
        st.caption(words[page.title])
    try:
        page.run()
    except MmragError as error:
        show_error(error)


def show_error(error: Exception) -> None:
    """One sentence where the result would be, as text."""
    with st.container(border=True):
        st.markdown(":material/error: **That did not work**")
        st.text(str(error))


def _sign_in() -> None:
    """`MMRAG_DASHBOARD_PASSWORD`, or OIDC when `.streamlit/secrets.toml` has an [auth] section."""
    if enter():
        return
    password = os.environ.get("MMRAG_DASHBOARD_PASSWORD")
    if password and not st.session_state.get("signed_in"):
        st.title("mmrag")
        with st.form("sign_in"):
            given = st.text_input("Password", type="password")
            if st.form_submit_button("Sign in", type="primary"):
                if _is_password(given, password):
                    st.session_state.signed_in = True
                    st.rerun()
                st.error("That is not the password.")
        st.stop()
    if _oidc_configured() and not st.user.is_logged_in:
        st.title("mmrag")
        st.button("Sign in", type="primary", on_click=st.login)
        st.stop()


@st.cache_resource(show_spinner=False)
def _attempts() -> threading.Lock:
    """Held while a password is looked at: all visitors together have one try a second."""
    return threading.Lock()


def _is_password(given: str, password: str) -> bool:
    with _attempts():
        if hmac.compare_digest(os.fsencode(given), os.fsencode(password)):
            return True
        time.sleep(WRONG_PASSWORD_SECONDS)
        return False


def _oidc_configured() -> bool:
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False
