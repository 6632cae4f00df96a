"""A command that ends with the process that started it, however that ends.

`run` starts `python -m mmrag.system.leash`, which starts the command in a process group of its own.
The system closes the pipe between them when the process is gone; then the group is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

_GRACE_SECONDS = 2.0


def run(command: Sequence[str], *, keep: Sequence[int] = (), **options: Any) -> int:
    """Run a command and wait for it; all that it started in its group ends with this process too.

    Args:
        keep: open files that stay open until all of this has ended.
        options: as `subprocess.Popen` takes them.

    Returns:
        The command's exit status.
    """
    told, hold = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "mmrag.system.leash", str(told), *command],
            pass_fds=[told, *keep],
            start_new_session=True,
            **options,
        )
        os.close(told)
        try:
            return process.wait()
        finally:
            os.close(hold)
            hold = -1
            process.wait()
    finally:
        if hold >= 0:
            os.close(hold)


def _main(told: int, command: Sequence[str]) -> int:
    # A function, not "ignore", which the command would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = subprocess.Popen(command)
    ending = threading.Event()
    threading.Thread(target=_end_with_parent, args=(told, ending), daemon=True).start()
    status = child.wait()
    if ending.is_set():
        os.killpg(0, signal.SIGKILL)  # what it started and did not end
    return status


def _end_with_parent(told: int, ending: threading.Event) -> None:
    os.read(told, 1)
    ending.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    status = _main(int(sys.argv[1]), sys.argv[2:])
    sys.exit(status if status >= 0 else 128 - status)
