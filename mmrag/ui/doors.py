"""Permissions: open addresses need a password, and only the owner's link may change things.

`mmrag dashboard` sets the rules in the environment: `MMRAG_DASHBOARD_OWNER` is the secret in the
owner's link, if other machines can reach the dashboard, and `MMRAG_READ_ONLY=1` switches off for
everybody what changes or costs something.
"""

from __future__ import annotations

import hmac
import os

import streamlit as st

from mmrag.errors import MmragError
from mmrag.system.addresses import is_local

_LINK = "owner"


def by_link() -> bool:
    """Whether the visitor came by the owner's link; call before anything is drawn."""
    secret = os.environ.get("MMRAG_DASHBOARD_OWNER")
    given = st.query_params.get(_LINK)
    if given is None:
        return False
    # Keep it out of copied addresses and of the history.
    del st.query_params[_LINK]
    return bool(secret) and hmac.compare_digest(os.fsencode(given), os.fsencode(secret or ""))


def require_door() -> None:
    """Show only one sentence if others can reach the dashboard and nothing guards it."""
    guards = ("MMRAG_DASHBOARD_OWNER", "MMRAG_DASHBOARD_PASSWORD")
    if any(os.environ.get(guard) for guard in guards) or has_oidc():
        return
    try:
        local = is_local(st.get_option("server.address"))
    except MmragError:
        local = False
    if not local:
        st.title("mmrag")
        st.text(
            "This dashboard listens to more than this machine and has no password; set "
            "MMRAG_DASHBOARD_PASSWORD, or start it with `mmrag dashboard --host …`."
        )
        st.stop()


def may_change() -> bool:
    """Whether this visitor may index folders, delete things, and spend the key."""
    if read_only():
        return False
    return not os.environ.get("MMRAG_DASHBOARD_OWNER") or bool(st.session_state.get("is_owner"))


def only_owners(what: str) -> None:
    """Refuse what only owners may do; `what` begins the sentence, such as "Indexing".

    Raises:
        MmragError: they may not.
    """
    not_read_only(what)
    if not may_change():
        raise MmragError(
            f"{what} is for the owner of this dashboard; its link was printed when it was started."
        )


def not_read_only(what: str) -> None:
    """Refuse what every visitor may otherwise do, if nothing may be changed at all.

    Raises:
        MmragError: the dashboard was started with `--read-only`.
    """
    if read_only():
        raise MmragError(f"{what} is switched off: this dashboard was started with --read-only.")


def read_only() -> bool:
    """Whether nobody may change anything."""
    return os.environ.get("MMRAG_READ_ONLY") == "1"


def has_oidc() -> bool:
    """Whether `.streamlit/secrets.toml` has an [auth] section."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False
