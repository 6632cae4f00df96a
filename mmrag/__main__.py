"""`python -m mmrag COMMAND`."""

import sys

from mmrag.cli import run

if __name__ == "__main__":
    sys.exit(run())
