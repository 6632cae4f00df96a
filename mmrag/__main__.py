"""`python -m mmrag COMMAND`."""

import sys

from mmrag.system import interrupt

if __name__ == "__main__":
    interrupt.stop_at_once()
    from mmrag.cli import run

    try:
        interrupt.stop_quickly()
        status = run()
    except KeyboardInterrupt:
        # Pressed before `run` could take it.
        status = interrupt.STATUS
    if interrupt.asked():
        interrupt.leave()
    interrupt.stop_at_once()
    sys.exit(status)
