"""`mmrag.cli.serve run dashboard.py`: Streamlit for so many tabs, which Ctrl-C stops at any time.

Streamlit takes care of Ctrl-C once it serves. Before that, while it is being imported and starts,
Ctrl-C would show a stack trace.
"""

from __future__ import annotations

from typing import Any

from mmrag.system import interrupt

if __name__ == "__main__":
    interrupt.stop_at_once()
    import uvicorn
    from streamlit.web.cli import main

    from mmrag import config
    from mmrag.cli.crowd import Crowd, make_room, release_closed

    class Config(uvicorn.Config):
        """Streamlit's, with a limit to how many tabs are served."""

        def __init__(self, app: Any, **settings: Any) -> None:
            most = min(config.max_tabs(), make_room())
            crowd = Crowd(app, most, config.max_tabs_each(), release_closed)
            super().__init__(crowd, **settings)

    # Streamlit makes its server of it; it has no setting for this.
    uvicorn.Config = Config  # type: ignore[assignment, misc]
    try:
        main(prog_name="streamlit")
    finally:
        # Its server is gone; a second Ctrl-C finds nobody else who would take it.
        interrupt.stop_at_once()
