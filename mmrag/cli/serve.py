"""`mmrag.cli.serve run dashboard.py`: Streamlit with limited tabs, stopped by Ctrl-C at any time.

Streamlit handles Ctrl-C once it serves. Before that, during import and start, Ctrl-C would show a
stack trace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmrag.system import interrupt

if __name__ == "__main__":
    interrupt.stop_at_once()
    import uvicorn
    from streamlit.file_util import get_static_dir
    from streamlit.web.cli import main

    from mmrag import config
    from mmrag.cli.crowd import Crowd, make_room, release_closed
    from mmrag.cli.front_end import FrontEnd

    class Config(uvicorn.Config):
        """Streamlit's configuration, with a limit on tabs and its front end in one piece."""

        def __init__(self, app: Any, **settings: Any) -> None:
            most = min(config.max_tabs(), make_room())
            front = FrontEnd(app, Path(get_static_dir()))
            crowd = Crowd(front, most, config.max_tabs_each(), release_closed)
            super().__init__(crowd, **settings)

    # Streamlit makes its server from this class; it has no setting for it.
    uvicorn.Config = Config  # type: ignore[assignment, misc]
    try:
        main(prog_name="streamlit")
    finally:
        # Its server is gone; nothing else would handle a second Ctrl-C.
        interrupt.stop_at_once()
