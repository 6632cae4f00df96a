"""Mutation testing: how many changes that a machine makes do the quick tests notice?

`make mutants`, or `python -m tests.mutation [ROOM ...] [--sample N] [--at-least SHARE]`. mutmut
changes arithmetic, comparisons, defaults, returned values and arguments, one at a time, in a copy
under build/mutation, and runs the tests that reach the changed function. What survives is listed by
name; `cd build/mutation/ROOM && python -m mutmut show NAME` shows it. A sample is the same for the
same commit.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "mutation"
# A room's quick tests: those that need no server and no command of their own.
ROOMS: dict[str, tuple[str, ...]] = {
    "metrics": ("test_metrics.py", "test_statistics.py"),
    "runs": ("test_runs.py", "test_frames.py", "test_metrics.py"),
    "rerank": ("test_rerank_local.py", "test_rerank_vision.py"),
    "vision": ("test_vision_model.py", "test_rerank_vision.py", "test_answer.py"),
    "evaluation": ("test_evaluate.py", "test_rerank_evaluation.py", "test_question_answering.py"),
    "index": ("test_store.py", "test_index.py", "test_server_options.py"),
    "search": ("test_index.py", "test_answer.py"),
    "images": ("test_images.py", "test_grid.py", "test_tiles.py", "test_thumbnails.py"),
    "encoders": ("test_encoders.py", "test_download.py"),
}
_NOT_QUICK = "not server and not killed and not command_line and not processes and not postgres"
_LINKED = ("eval_sets", "bench", "docs", "README.md", "dashboard.py", "Makefile", ".git")
# How mutmut notes what became of a mutant: exit status of its tests to a word.
_OUTCOMES = {0: "survived", 33: "not reached", None: "not tried"}


def prepare(room: str) -> Path:
    """A copy of what the room's tests need, with mutmut's settings for it."""
    folder = WORK / room
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("mmrag", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    settings = {
        "source_paths": ["mmrag"],
        "only_mutate": [f"mmrag/{room}/*"],
        "also_copy": [name for name in _LINKED if name != ".git"],
        "pytest_add_cli_args": ["-k", _NOT_QUICK, "-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in ROOMS[room]],
        # Models in memory are no place to fork from.
        "process_isolation": "forkserver",
        "track_dependencies": False,
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        "\n".join([project, "[tool.mutmut]", *lines, ""]), encoding="utf-8"
    )
    return folder


def mutmut(folder: Path, *names: str) -> None:
    """Make the mutants, and try those of these names; without names all."""
    command = [sys.executable, "-m", "mutmut", "run", *names]
    subprocess.run(command, cwd=folder, check=not names)


def outcomes(folder: Path) -> dict[str, str]:
    """Mutant to "killed", "survived", "not reached" or "not tried"."""
    found: dict[str, str] = {}
    for path in sorted((folder / "mutants").rglob("*.meta")):
        held = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        found |= {name: _OUTCOMES.get(status, "killed") for name, status in held.items()}
    return found


def main() -> int:
    """Print a table by room and the survivors; 1 when fewer were killed than asked for."""
    asked = argparse.ArgumentParser(description="Mutation testing by room.")
    asked.add_argument("rooms", nargs="*", metavar="ROOM", help=", ".join(ROOMS))
    asked.add_argument("--sample", type=int, help="Only so many, of all rooms together.")
    asked.add_argument("--at-least", type=float, default=0.0, help="Share that must be killed.")
    given = asked.parse_args()
    if unknown := set(given.rooms) - set(ROOMS):
        asked.error(f"no room {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    folders = {room: prepare(room) for room in given.rooms or ROOMS}
    if given.sample is None:
        for folder in folders.values():
            mutmut(folder)
    else:
        for folder in folders.values():
            # No mutant is called so: they are made, and none is tried.
            mutmut(folder, "none")
        every = [(room, name) for room, folder in folders.items() for name in outcomes(folder)]
        commit = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        seed = subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip()
        chosen = random.Random(seed).sample(every, min(given.sample, len(every)))
        for room, folder in folders.items():
            if names := [name for where, name in chosen if where == room]:
                mutmut(folder, *names)
    total: Counter[str] = Counter()
    print(f"\n{'room':12}{'killed':>8}{'survived':>10}{'not reached':>13}{'share':>8}")
    for room, folder in folders.items():
        found = outcomes(folder)
        counts = Counter(found.values())
        total += counts
        print(_line(room, counts))
        for name, outcome in found.items():
            if outcome == "survived":
                print(f"  {name}", file=sys.stderr)
    print(_line("all", total))
    return int(_share(total) < given.at_least)


def _share(counts: Counter[str]) -> float:
    tried = counts["killed"] + counts["survived"] + counts["not reached"]
    return counts["killed"] / tried if tried else 1.0


def _line(room: str, counts: Counter[str]) -> str:
    numbers = f"{counts['killed']:8}{counts['survived']:10}{counts['not reached']:13}"
    return f"{room:12}{numbers}{_share(counts):8.1%}"


if __name__ == "__main__":
    sys.exit(main())
