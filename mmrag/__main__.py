"""`mmrag COMMAND`, and `python -m mmrag COMMAND`."""

from __future__ import annotations

import sys

from mmrag.system import interrupt


def main() -> None:
    """Run the command line and exit with its status."""
    interrupt.ignore_at_the_end()
    interrupt.stop_at_once()
    from mmrag.cli import run

    try:
        interrupt.stop_quickly()
        status = run()
    except KeyboardInterrupt:
        # Ctrl-C came before `run` could handle it.
        status = interrupt.STATUS
    if interrupt.asked():
        interrupt.leave()
    interrupt.stop_at_once()
    sys.exit(status)


if __name__ == "__main__":
    main()
