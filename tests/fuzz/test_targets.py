"""Every Atheris target for a few seconds; `python -m tests.fuzz.targets NAME` looks for longer."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..helpers import ROOT
from .targets import TARGETS

pytest.importorskip("atheris", reason="Atheris has wheels for Linux on x86_64 only")

# Those that take files write and read one for each attempt.
RUNS = {"eval_set": 300, "run_file": 300, "metadata": 300, "image": 1000}


def search(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "tests.fuzz.targets"]
    # libFuzzer's limit of memory counts the most that whoever started it ever held: a shell, here.
    shell = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]
    return subprocess.run(
        [*shell, sys.executable, *command, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    runs = RUNS.get(name, 2000)
    done = search(name, f"-runs={runs}", "-seed=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Done {runs} runs" in done.stderr
    # Lines were counted, and some inputs reached others than the first did.
    first, *_, last = map(int, re.findall(r" cov: (\d+) ", done.stderr))
    assert last > first


def test_what_fails_is_kept_and_fails_again() -> None:
    code = (
        "import sys\n"
        "from tests.fuzz import targets\n"
        "def attempt(data): assert data != b'seven', 'a bug'\n"
        "targets.TARGETS['broken'] = lambda _: targets.Target([b'seven'], attempt)\n"
        "targets.main('broken', sys.argv[1:])\n"
    )
    found = search("-runs=100", code=code)
    assert found.returncode
    assert "a bug" in found.stdout + found.stderr
    (kept,) = Path(os.environ["MMRAG_HOME"], "fuzz", "broken").glob("crash-*")
    assert kept.read_bytes() == b"seven"
    again = search(str(kept), code=code)
    assert again.returncode
    assert "a bug" in again.stdout + again.stderr


def test_an_unknown_name_is_a_sentence() -> None:
    done = search("nothing")
    assert done.returncode == 1
    assert done.stderr == f"Name one of these: {', '.join(TARGETS)}.\n"
