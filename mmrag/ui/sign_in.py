"""Signing in with `MMRAG_DASHBOARD_PASSWORD` or OIDC, once per browser, and signing out.

A signed cookie says that this browser gave the password, or came by the owner's link. It holds no
secret, expires after `DAYS`, and is void once the password or the owner's link changes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import time

import streamlit as st
from itsdangerous import BadSignature, URLSafeTimedSerializer

from mmrag import config
from mmrag.system.durable import own_part, settle
from mmrag.ui.doors import by_link, has_oidc, require_door

COOKIE = "mmrag_visitor"
DAYS = 7
WRONG_PASSWORD_SECONDS = 1.0
SECRET_LENGTH = 32
# The field may be drawn a moment later than this.
_FOCUS = (
    "const focus = () => { const field = document.querySelector('input[type=password]');"
    " if (field) field.focus(); else setTimeout(focus, 50); }; setTimeout(focus, 50)"
)
# The settings whose secrets give a role.
_OWNER, _PASSWORD = "MMRAG_DASHBOARD_OWNER", "MMRAG_DASHBOARD_PASSWORD"


def is_signed_in() -> bool:
    """Whether this visitor may see anything; call before anything is drawn."""
    state = st.session_state
    came_by_link = by_link()
    require_door()
    if came_by_link:
        state.is_owner = True
        _tell_browser(_OWNER)
    elif "is_owner" not in state:
        forgotten = "signed_out" in state
        state.is_owner = not forgotten and _remembered(_OWNER)
        state.signed_in = not forgotten and _remembered(_PASSWORD)
    return bool(state.is_owner) or not (_wants_password() or _wants_oidc())


def ask() -> None:
    """Draw the sign-in form, and end the page."""
    st.title("mmrag", anchor=False)
    write_cookie()
    if not _wants_password():
        st.button("Sign in", type="primary", on_click=st.login)
        st.stop()
    with st.form("sign_in"):
        given = st.text_input("Password", type="password", autocomplete="current-password")
        if st.form_submit_button("Sign in", type="primary"):
            if _is_password(given, os.environ[_PASSWORD]):
                st.session_state.signed_in = True
                _tell_browser(_PASSWORD)
                st.rerun()
            st.error("That is not the password.")
    st.html(f"<script>{_FOCUS}</script>", unsafe_allow_javascript=True)
    st.stop()


def sign_out_button() -> None:
    """Draw it for visitors who gave a password, came by the owner's link, or used OIDC."""
    state = st.session_state
    if state.get("signed_in") or state.get("is_owner"):
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=_sign_out)
    elif has_oidc():
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)


def write_cookie() -> None:
    """Draw the script that has the browser keep or forget its cookie; it acts once."""
    script = st.session_state.get("cookie_script")
    if script:
        st.html(script, unsafe_allow_javascript=True)


def _tell_browser(role: str | None) -> None:
    """Have the browser remember this role, or none."""
    value = _signer(role).dumps(role) if role else ""
    age = DAYS * 86_400 if role else 0
    words = json.dumps(f"{COOKIE}={value}; Max-Age={age}; SameSite=Strict; Path=/")
    secure = "(location.protocol === 'https:' ? '; Secure' : '')"
    st.session_state.cookie_script = f"<script>document.cookie = {words} + {secure}</script>"


def _sign_out() -> None:
    st.session_state.clear()
    st.session_state.signed_out = True
    _tell_browser(None)


def _wants_password() -> bool:
    return bool(os.environ.get(_PASSWORD)) and not st.session_state.get("signed_in")


def _wants_oidc() -> bool:
    return has_oidc() and not st.user.is_logged_in


def _remembered(role: str) -> bool:
    """Whether the browser's cookie holds this role, and this dashboard wrote it."""
    given = st.context.cookies.get(COOKIE)
    if not (given and os.environ.get(role)):
        return False
    try:
        return bool(_signer(role).loads(given, max_age=DAYS * 86_400) == role)
    except BadSignature:
        return False


def _signer(role: str) -> URLSafeTimedSerializer:
    """A signer with this home's secret and the role's own."""
    digest = {"digest_method": hashlib.sha256}
    return URLSafeTimedSerializer(_secret() + os.environ[role], salt=role, signer_kwargs=digest)


@st.cache_resource(show_spinner=False)
def _secret() -> str:
    """The secret of this home; without it, passwords could be guessed offline from a cookie."""
    path = config.home() / "cookie.secret"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another dashboard of this home waits, then takes the same secret.
    with own_part(path) as part:
        kept = path.read_text("ascii", "replace") if path.exists() else ""
        if len(kept) < SECRET_LENGTH:
            # Unreadable for other users from the first byte on.
            part.chmod(0o600)
            part.write_text(kept := secrets.token_urlsafe(SECRET_LENGTH), "ascii")
            settle(part, path)
    return kept


@st.cache_resource(show_spinner=False)
def _attempts() -> threading.Lock:
    """The lock held while a password is checked: all visitors together have one try a second."""
    return threading.Lock()


def _is_password(given: str, password: str) -> bool:
    with _attempts():
        if hmac.compare_digest(os.fsencode(given), os.fsencode(password)):
            return True
        time.sleep(WRONG_PASSWORD_SECONDS)
        return False
