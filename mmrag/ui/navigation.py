"""Page configuration, sign-in, and the list of pages."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from mmrag.ui import sign_in

_HERE = Path(__file__).parent

# Title, icon, and the page's purpose.
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
        "Say for each picture whether it is what the query asks for. Your judgments become the "
        "labels that evaluations use.",
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
    known = sign_in.is_signed_in()
    pages = []
    for name, (title, icon, _) in PAGES.items():
        file = _HERE / "pages" / f"{name}.py"
        if file.exists():
            first = name == "search"
            path = "start" if first else name
            pages.append(st.Page(file, title=title, icon=icon, url_path=path, default=first))
            if first:
                # Streamlit serves the first page only at "/", but people also type its name.
                pages.append(st.Page(file, title=title, url_path=name, visibility="hidden"))
    from mmrag.errors import MmragError

    # The page that a link names stays current after signing in.
    page = st.navigation(pages, position="top" if known else "hidden")
    if not known:
        sign_in.ask()
    st.set_page_config(page_title=f"{page.title} · mmrag")
    st.html(_HERE / "page.css")
    st.title(page.title, anchor=False)
    words = {title: words for title, _, words in PAGES.values()}
    with st.container(key="page_words"):
        st.caption(words[page.title])
        sign_in.sign_out_button()
        sign_in.write_cookie()
    try:
        page.run()
    except MmragError as error:
        show_error(error)


def show_error(error: Exception) -> None:
    """Show an error as one sentence of text in place of the result."""
    with st.container(border=True):
        st.markdown(":material/error: **Something went wrong**")
        st.text(str(error))
