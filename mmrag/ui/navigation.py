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

PAGES = {
    "search": ("Search", ":material/image_search:"),
    "evaluate": ("Evaluate", ":material/play_circle:"),
    "judge": ("Judge", ":material/rule:"),
    "runs": ("Runs", ":material/bar_chart:"),
    "speed": ("Speed", ":material/speed:"),
    "gallery": ("Gallery", ":material/grid_view:"),
    "health": ("Health", ":material/monitor_heart:"),
}


def run() -> None:
    """Draw the page that the URL names."""
    st.set_page_config(page_title="mmrag", page_icon=str(_HERE / "icon.png"), layout="wide")
    _sign_in()
    pages = []
    for name, (title, icon) in PAGES.items():
        file = _HERE / "pages" / f"{name}.py"
        if file.exists():
            first = name == "search"
            pages.append(st.Page(file, title=title, icon=icon, url_path=name, default=first))
    from mmrag.errors import MmragError

    page = st.navigation(pages, position="top")
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
