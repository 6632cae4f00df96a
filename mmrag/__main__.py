"""`python -m mmrag COMMAND`."""

import sys

from mmrag import interrupt

if __name__ == "__main__":
    interrupt.stop_quickly()
    from mmrag.cli import run

    status = run()
    if interrupt.asked():
        interrupt.leave()
    sys.exit(status)
