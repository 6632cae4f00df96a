"""Fuzzing that is led by coverage: Atheris keeps the bytes that reach new lines of a parser.

    python -m tests.fuzz.targets ranking -max_total_time=60

looks for a minute for an answer that `read_ranking` stumbles over; the flags are libFuzzer's. What
counts as stumbling is what the Hypothesis tests of this folder assert. Bytes that were worth
keeping are under `MMRAG_HOME/fuzz`, and the next search begins with them. So are those that failed,
and a file instead of flags is tried alone:

    python -m tests.fuzz.targets ranking .mmrag/fuzz/ranking/crash-0a1b2c
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 4096
# Whose lines are counted beside mmrag's. Of Pillow it is the reading of headers; the decoders of
# pixels are compiled.
COUNTED = {"env": ["dotenv"], "image": ["PIL"], "metric": ["ir_measures"]}


@dataclass(frozen=True)
class Target:
    """What one parser is tried with. `seeds` are inputs that it reads, for a start."""

    seeds: Iterable[bytes]
    attempt: Callable[[bytes], None]


def ranking(_: Path) -> Target:
    from .test_replies import rank

    answers = [
        '{"ranking": [1, 0, 2], "reason": "it is \\"red\\""}',
        'Sure: {"ranking": ["[2]", 1.5, -1], "reas',
        "Ranked list: [1, 0, 2] Reasons: the first is red",
        "**Ranked List:** [1] > [0] > [2]\nReason: red",
    ]
    return Target(
        [b"\3" + answer.encode() for answer in answers],
        lambda data: rank(text(data[1:]), 1 + first(data) % 25),
    )


def reply(_: Path) -> Target:
    from .test_replies import REPLY, read_completion

    return Target([json.dumps(REPLY).encode()], lambda data: read_completion(text(data)))


def run_file(folder: Path) -> Target:
    from mmrag import EvalSet, RunStore

    from .test_eval_sets import RUN_FILES, import_one, make_good

    root = made(folder / "set")
    make_good(root, made(folder / "outside"))
    eval_set, store = EvalSet.load(root), RunStore("sqlite://")

    def attempt(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        import_one(folder / name, eval_set, store)

    return one_of(RUN_FILES, attempt)


def eval_set(folder: Path) -> Target:
    from .test_eval_sets import CORPUS, HEAD, QRELS, QUERIES, check, lines, make_good, write

    root = made(folder / "set")
    make_good(root, made(folder / "outside"))
    files = {
        "eval_set.json": json.dumps(HEAD),
        "corpus.jsonl": lines(CORPUS),
        "queries.jsonl": lines(QUERIES),
        "qrels/test.tsv": QRELS,
    }

    def attempt(name: str, content: bytes) -> None:
        write(root, {name: content})
        check(root)

    return one_of({name: content.encode() for name, content in files.items()}, attempt)


def qrels(folder: Path) -> Target:
    from mmrag.eval_sets.importers.trec import read_trec_qrels

    from .cases import case

    def attempt(data: bytes) -> None:
        (folder / "qrels.txt").write_bytes(data)
        with case(__file__):
            for grades in read_trec_qrels(folder / "qrels.txt").values():
                assert all(image_id and grade >= 0 for image_id, grade in grades.items())

    return Target([b"1 0 b 1\n1 0 a -2\n\n2 Q0 a 2\r\n"], attempt)


def metadata(folder: Path) -> Target:
    from .test_metadata import FILES, join, make_gallery

    root = made(folder / "gallery")
    make_gallery(root)

    def attempt(name: str, content: bytes) -> None:
        from .cases import case

        with case(__file__):
            join(root, name, content)

    return one_of(FILES, attempt)


def prices(folder: Path) -> Target:
    from .test_settings import TABLE, use_prices

    os.environ["MMRAG_PRICES"] = str(folder / "prices.json")

    def attempt(data: bytes) -> None:
        (folder / "prices.json").write_bytes(data)
        use_prices()

    models = json.loads(TABLE.read_bytes())["models"]
    few = {"gpt-4o": models["gpt-4o"], "gpt-4o-2024-05-13": next(reversed(models.values()))}
    return Target([json.dumps({"models": few}).encode()], attempt)


def env(folder: Path) -> Target:
    import dotenv  # noqa: F401 - so that its lines are counted

    from .test_settings import ENV, load_env

    return Target([ENV], lambda data: load_env(folder, data))


def metric(_: Path) -> Target:
    import ir_measures  # noqa: F401 - so that its lines are counted

    from .test_eval_sets import name_metric

    names = [b"nDCG@10", b"hit_rate@1", b"AP(rel=2)@10", b"R_subset@3", b"mAP@5", b"RR"]
    return Target(names, lambda data: name_metric(text(data)))


def image(_: Path) -> Target:
    from .test_images import DISGUISED, WHOLE, look

    return Target(
        [*WHOLE.values(), *DISGUISED.values()],
        lambda data: look(data, None if len(data) % 2 else 8),
    )


TARGETS: dict[str, Callable[[Path], Target]] = {
    made_by.__name__: made_by
    for made_by in (
        *(ranking, reply, run_file, eval_set, qrels, metadata, prices, env, metric, image),
    )
}


def one_of(files: dict[str, bytes], attempt: Callable[[str, bytes], None]) -> Target:
    """The first byte says which of several files the others are."""
    names: Sequence[str] = list(files)
    return Target(
        [bytes([number]) + content for number, content in enumerate(files.values())],
        lambda data: attempt(names[first(data) % len(names)], data[1:]),
    )


def first(data: bytes) -> int:
    return data[0] if data else 0


def text(data: bytes) -> str:
    """Any bytes as text; those that are no UTF-8 become half characters."""
    return data.decode("utf-8", "surrogateescape")


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def main(name: str, options: list[str]) -> None:
    """Try a target until libFuzzer's flags say that it is enough; does not come back."""
    import atheris

    with atheris.instrument_imports(include=["mmrag", *COUNTED.get(name, [])]):
        from mmrag import config

        folder = config.home() / "fuzz" / name
        shutil.rmtree(folder / "files", ignore_errors=True)
        target = TARGETS[name](made(folder / "files"))
    if all(option.startswith("-") for option in options):
        corpus = folder / "corpus"
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate(target.seeds):
            if len(seed) <= LONGEST:
                (corpus / f"seed-{number}").write_bytes(seed)
        options = [*options, str(corpus)]
    always = [f"-artifact_prefix={folder}/", f"-max_len={LONGEST}"]
    atheris.Setup([name, *always, *options], target.attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"Name one of these: {', '.join(TARGETS)}.")
    main(sys.argv[1], sys.argv[2:])
