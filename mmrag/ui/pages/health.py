"""Health: what works on this machine, and what to do about the rest."""

from __future__ import annotations

from itertools import groupby

import streamlit as st

from mmrag.doctor import Check, Report, versions
from mmrag.ui import resources, url
from mmrag.ui.markdown import command

ICONS = {
    "fine": ":green[:material/check_circle:]",
    "warning": ":orange[:material/warning:]",
    "absent": ":gray[:material/remove_circle_outline:]",
}


def main() -> None:
    """Draw the page."""
    if st.button("Check again", icon=":material/refresh:"):
        _examined.clear()
    with st.spinner("Looking at devices, encoders and Milvus …"):
        found = _examined(resources.uri()).checks()
    _verdict(found)
    for topic, some in groupby(found, lambda check: check.topic):
        st.header(topic)
        with st.container(border=True):
            for check in some:
                _row(check)
    st.header("Versions")
    with st.container(horizontal=True, gap="medium"):
        for package, version in _versions().items():
            st.text(f"{package} {version}")


@st.cache_data(ttl=60, show_spinner=False)
def _examined(uri: str) -> Report:
    # Imports torch, which takes a while the first time.
    from mmrag.doctor import examine

    return examine(uri)


def _versions() -> dict[str, str]:
    return {"python": _examined(resources.uri()).python, **versions()}


def _verdict(found: list[Check]) -> None:
    wrong = sum(check.state == "warning" for check in found)
    if wrong:
        st.warning(f"{wrong} of {len(found)} need attention.", icon=":material/warning:")
    else:
        st.success("Everything that is needed works.", icon=":material/check_circle:")


def _row(check: Check) -> None:
    """Draw icon and name, then the finding, and below it what to do."""
    name, found = st.columns([1, 3], gap="small")
    with name, st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(ICONS[check.state], width="content")
        st.text(check.name)
    with found, st.container(gap="xsmall"):
        st.text(check.found)
        if check.advice:
            st.caption(check.advice)
        if check.command:
            command(check.command)


url.run_page("health", main)
