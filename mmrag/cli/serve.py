"""`mmrag.cli.serve run dashboard.py`: Streamlit, which Ctrl-C stops from the start on.

Streamlit takes care of Ctrl-C once it serves. Before that, while it is being imported and starts,
Ctrl-C would show a stack trace.
"""

from __future__ import annotations

from mmrag.system import interrupt

if __name__ == "__main__":
    interrupt.stop_at_once()
    from streamlit.web.cli import main

    try:
        main(prog_name="streamlit")
    finally:
        # Its server is gone; a second Ctrl-C finds nobody else who would take it.
        interrupt.stop_at_once()
