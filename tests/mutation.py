"""Mutation testing: how many changes that a machine makes do the quick tests notice?

`make mutants`, or `python -m tests.mutation [ROOM ...] [--sample N] [--at-least SHARE]`. mutmut's
operators change arithmetic, comparisons, defaults, values and arguments, one at a time; two of our
own skip calls and return nothing. Wordings stay: tests hold what a message says, not its letters.
`tests/mutation_trials.py` runs the tests that reach the changed function, in a copy under
build/mutation. What survives is printed as a change of the code. A sample is the same for the same
commit.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build" / "mutation"
RESULTS = ROOT / "docs" / "mutants.json"
# A room's quick tests. Those with a Milvus server skip themselves where none is named.
ROOMS: dict[str, tuple[str, ...]] = {
    "metrics": ("metrics", "statistics", "redundancy"),
    "runs": (
        *("runs", "frames", "gate", "together", "protocols", "submissions", "published_figures"),
        *("several_sets", "overlap", "composition", "jobs", "judgments"),
    ),
    "rerank": ("rerank_local", "rerank_pairs", "rerank_vision", "cascade", "exact_search"),
    "vision": (
        *("vision_model", "vision_table", "vision_thought", "vision_batch", "vision_faults"),
        *("vision_evaluation", "hosted_encoders"),
    ),
    "evaluation": (
        *("evaluate", "rerank_evaluation", "question_answering", "from_run", "search_url"),
        *("vision_evaluation", "several_sets", "composition"),
    ),
    "index": (
        *("store", "index", "server_options", "browse", "adopted"),
        *("parquet", "removal", "embedding_map", "gallery"),
    ),
    "search": ("answer", "rewrite", "index", "pools", "composition", "queries"),
    "images": ("images", "grid", "tiles", "thumbnails", "streaming", "limits"),
    "encoders": (
        *("encoders", "download", "clip", "sentence", "array_model", "hosted_encoders"),
        *("queries", "pretrained", "hub_layout", "plugins", "streams"),
    ),
}
_LINKED = ("eval_sets", "bench", "docs", "README.md", "dashboard.py", "Makefile", ".git")
# Texts without which both sides of a change are the same, and why the change is none.
_NO_MATTER = (
    (r",? encoding=[^,)]+", "Python's own encoding is UTF-8 wherever this is tested"),
    (r",? *strict=\w+", "the lengths are equal, or need not be; it guards against our mistakes"),
)
# File, a text of the changed line, a text of what it became, and why nobody can notice.
EQUIVALENT = (
    ("metrics/metrics.py", 'METRICS[name.partition("@")[0]]', "rpartition", "one @ is in it"),
    ("metrics/resolution.py", "min(queries, 64)", "min(queries, 65)", "1 in 10,001 is the least"),
    ("metrics/statistics.py", "if n < 63", "if n <= 63", "2**63 is more than any permutations"),
    ("metrics/statistics.py", "max(1, _BLOCK // n)", "max(2,", "a bound of memory"),
    ("encoders/clip.py", "mean.view(1, 3, 1, 1)", "mean.view(3, 1, 1)", "it broadcasts the same"),
    ("encoders/encoder.py", "result.pixels is not None", "result.pixels is None", "a group's key"),
    ("evaluation/ablations.py", "for query in batch], size)", "], )", "a bound of memory"),
    ("evaluation/expected.py", "start=1", "start=2", "a prompt numbers candidates by their place"),
    ("index/bulk.py", "rstrip('/')", "rstrip(None)", "from_uri has dropped the slash"),
    ("rerank/embeddings.py", "(missing, load, batch_size)", "(missing, load, )", "speed only"),
    ("runs/exports.py", "ensure_ascii=False", "ensure_ascii=None", "both are false"),
    ("images/depth.py", "initial=0", "initial=None", "no strip is empty, no peak below 0 matters"),
    ("images/grid.py", "cv2.LINE_AA", "None)", "the smoothing of a digit's edge"),
    ("images/grid.py", "(90, 90, 90)", "(90, 90, 91)", "one level of one channel"),
)


# What becomes of a mutant.
WORDS = ("killed", "timed out", "survived", "not reached", "equivalent", "not tried")


@dataclass(frozen=True)
class Mutant:
    """One change: the number of a mutation of a file, and the function that it is in."""

    file: str
    number: int
    function: str = ""
    name: str = ""
    change: str = ""

    @property
    def room(self) -> str:
        """The room of its file."""
        return self.file.split("/")[1]


def operators() -> None:
    """mutmut's operators without those of wordings, with skipped calls and nothing returned."""
    import libcst as cst
    from mutmut.mutation import mutators

    def skip(node: cst.Expr) -> Iterable[cst.CSTNode]:
        if isinstance(node.value, cst.Call):
            yield cst.Pass()

    def nothing(node: cst.Return) -> Iterable[cst.CSTNode]:
        if node.value and not (isinstance(node.value, cst.Name) and node.value.value == "None"):
            yield node.with_changes(value=cst.Name("None"))

    # That of operators is asked for every node, and slow: only for those that have one.
    left_out = (mutators.operator_string, mutators.operator_swap_op)
    swapped = (
        cst.BinaryOperation,
        cst.UnaryOperation,
        cst.BooleanOperation,
        cst.ComparisonTarget,
        cst.AugAssign,
    )
    mutators.mutation_operators[:] = [
        *(one for one in mutators.mutation_operators if one[1] not in left_out),
        (swapped, mutators.operator_swap_op),
        (cst.Expr, skip),
        (cst.Return, nothing),
    ]


def mutations(file: str) -> tuple[Any, list[Any], set[str], set[str]]:
    """The parsed file, and its mutations in the order in which mutmut names them."""
    import libcst as cst
    from mutmut.mutation.file_mutation import create_mutations

    code = (ROOT / file).read_text(encoding="utf-8")
    module, found, *ignored = create_mutations(file, code)
    bodies = [module.body, *(one.body.body for one in module.body if isinstance(one, cst.ClassDef))]
    order = {id(one): place for place, one in enumerate(itertools.chain(*bodies))}
    found = [
        one for one in found if isinstance(one.contained_by_top_level_function, cst.FunctionDef)
    ]
    found.sort(key=lambda one: order[id(one.contained_by_top_level_function)])
    return module, found, *ignored


def count(file: str) -> int:
    """How many mutants a file has."""
    return len(mutations(file)[1])


def make(file: str, numbers: list[int]) -> list[Mutant]:
    """Put these mutants of a file into the copy of it."""
    from mutmut.mutation.file_mutation import combine_mutations_to_source
    from mutmut.utils.format_utils import get_mutant_name

    module, found, *ignored = mutations(file)
    mutated = combine_mutations_to_source(module, [found[number] for number in numbers], *ignored)
    (COPY / file).write_text(mutated.code, encoding="utf-8")
    lines = mutated.code.splitlines()
    made = []
    for number, name in zip(numbers, mutated.mutant_names, strict=True):
        function = name.partition("__mutmut_")[0]
        before, after = (
            lines[span.start - 1 : span.end]
            for span in map(
                mutated.line_span_by_function_name.get, (f"{function}__mutmut_orig", name)
            )
        )
        after = [line.replace(name, f"{function}__mutmut_orig") for line in after]
        different = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
        change = "\n".join(f"{line[0]} {line[1:].strip()}" for line in different)
        made.append(Mutant(file, number, function, get_mutant_name(Path(file), name), change))
    return made


def prepare(
    rooms: Iterable[str], names: Iterable[str], sample: int | None
) -> tuple[list[Mutant], Counter[str]]:
    """A copy of what tests need with the chosen mutants in it; these, and each room's number."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in ("mmrag", "tests"):
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _LINKED:
        if (ROOT / name).exists():
            (COPY / name).symlink_to(ROOT / name)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = project + '\n[tool.mutmut]\nsource_paths = ["mmrag"]\n'
    (COPY / "pyproject.toml").write_text(settings, encoding="utf-8")
    files = [
        path.relative_to(ROOT).as_posix()
        for room in rooms
        for path in sorted((ROOT / "mmrag" / room).rglob("*.py"))
    ]
    # mutmut reads its settings where it is.
    os.chdir(COPY)
    with multiprocessing.Pool(initializer=operators) as pool:
        counts = dict(zip(files, pool.map(count, files, 1), strict=True))
        every = [(file, number) for file in files for number in range(counts[file])]
        print(f"{len(every):,} mutants in {len(files)} files", flush=True)
        if wanted := set(names):
            every = [one for one in every if f"{one[0]}#{one[1]}" in wanted]
        elif sample is not None:
            every = sorted(random.Random(commit()).sample(every, min(sample, len(every))))
        chosen = [
            (file, [number for _, number in group])
            for file, group in itertools.groupby(every, key=lambda one: one[0])
        ]
        made = list(itertools.chain(*pool.starmap(make, chosen, 1)))
    os.chdir(ROOT)
    totals: Counter[str] = Counter()
    for file, many in counts.items():
        totals[file.split("/")[1]] += many
    return made, totals


def commit() -> str:
    """The commit that is checked out."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def why_equivalent(mutant: Mutant) -> str:
    """Why a surviving mutant changes nothing; "" when that is not known."""
    before, after = (
        "".join(line[2:] for line in mutant.change.splitlines() if line[0] == sign) for sign in "-+"
    )
    for pattern, why in _NO_MATTER:
        if re.sub(pattern, "", before).rstrip(", )") == re.sub(pattern, "", after).rstrip(", )"):
            return why
    for file, old, new, why in EQUIVALENT:
        if mutant.file == f"mmrag/{file}" and old in before and new in after:
            return why
    return ""


def _files(room: str) -> list[str]:
    return [f"tests/test_{name}.py" for name in ROOMS[room]]


def try_all(made: list[Mutant], deadline: float) -> dict[str, str]:
    """Mutant to "killed", "survived", "not reached", "timed out" or "not tried"."""
    rooms = dict.fromkeys(one.room for one in made)
    plan = {
        "deadline": deadline,
        "mutants": [asdict(one) | {"tests": _files(one.room)} for one in made],
    }
    (COPY / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    tests = sorted({file for room in rooms for file in _files(room)})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.mutation_trials",
        "-p",
        "no:cacheprovider",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("MMRAG_TEST_MILVUS", None)
    done = subprocess.run([*command, "-q", "-s", *tests], cwd=COPY, env=environment)
    if done.returncode:
        raise RuntimeError(f"the trials ended with {done.returncode}")
    found: dict[str, str] = json.loads((COPY / "outcomes.json").read_text(encoding="utf-8"))
    return found


def main() -> int:
    """Print a table by room and the survivors; 1 when fewer were killed than asked for."""
    asked = argparse.ArgumentParser(description="Mutation testing by room.")
    asked.add_argument(
        "rooms", nargs="*", metavar="ROOM", help=f"Or FILE#NUMBER; {', '.join(ROOMS)}"
    )
    asked.add_argument("--sample", type=int, help="Only so many, of all rooms together.")
    asked.add_argument("--at-least", type=float, default=0.0, help="Share that must be killed.")
    asked.add_argument(
        "--minutes", type=float, default=1e9, help="What is not tried by then is not."
    )
    asked.add_argument("--keep", action="store_true", help=f"Write the counts to {RESULTS.name}.")
    given = asked.parse_args()
    deadline = time.time() + 60 * given.minutes
    names = [name for name in given.rooms if "#" in name]
    rooms = list(dict.fromkeys(name.split("/")[1] if "#" in name else name for name in given.rooms))
    if unknown := set(rooms) - set(ROOMS):
        asked.error(f"no room {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    rooms = rooms or list(ROOMS)
    made, totals = prepare(rooms, names, given.sample)
    outcomes = try_all(made, deadline)
    counts = {room: Counter[str]() for room in rooms}
    for mutant in made:
        outcome = outcomes[mutant.name]
        if outcome in ("survived", "not reached") and why_equivalent(mutant):
            outcome = "equivalent"
        counts[mutant.room][outcome] += 1
        if outcome in ("survived", "not reached"):
            print(f"{outcome}: {mutant.file}#{mutant.number} {mutant.function}\n{mutant.change}\n")
    total = sum(counts.values(), Counter[str]())
    print(f"{'room':12}{'of':>7}" + "".join(f"{name:>13}" for name in WORDS) + f"{'share':>8}")
    for room in rooms:
        print(_line(room, totals[room], counts[room]))
    print(_line("all", totals.total(), total))
    if given.keep:
        keep({room: {"mutants": totals[room], **counts[room]} for room in rooms})
    if total["not tried"]:
        print(f"{total['not tried']} were not tried within {given.minutes:g} minutes.")
    return int(_share(total) < given.at_least or total["not tried"] > len(made) / 2)


def keep(rooms: dict[str, dict[str, int]]) -> None:
    """Write what was found beside what other rooms had, and print the documents' table."""
    held = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rooms": {}}
    when = {"commit": commit()[:7], "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    held["rooms"] |= {room: found | when for room, found in rooms.items()}
    RESULTS.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    print(table(held))


def table(held: dict[str, Any]) -> str:
    """The table of the documents, from the kept counts."""
    lines = [
        "| room | tried, of changes | noticed | not noticed | not reached | share | commit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for room in sorted(held["rooms"]):
        at = held["rooms"][room]
        found = Counter[str]({word: at.get(word, 0) for word in ("mutants", *WORDS)})
        noticed = found["killed"] + found["timed out"]
        tried = noticed + found["survived"] + found["not reached"] + found["equivalent"]
        lines.append(
            f"| `{room}` | {tried:,} of {found['mutants']:,} | {noticed:,} | "
            f"{found['survived']:,} | {found['not reached']:,} | {100 * _share(found):.1f} % | "
            f"{at['commit']}, {at['date']} |"
        )
    return "\n".join(lines)


def _share(counts: Counter[str]) -> float:
    killed = counts["killed"] + counts["timed out"]
    tried = killed + counts["survived"] + counts["not reached"]
    return killed / tried if tried else 1.0


def _line(room: str, of: int, counts: Counter[str]) -> str:
    return (
        f"{room:12}{of:7,}" + "".join(f"{counts[w]:13}" for w in WORDS) + f"{_share(counts):8.1%}"
    )


if __name__ == "__main__":
    sys.exit(main())
