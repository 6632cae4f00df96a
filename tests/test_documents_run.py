"""Every command and every snippet that the documents and the commands' own help show is run.

Each document is followed from top to bottom in a reader's folder (`reader.make_folder`), in this
process. Encoders whose weights are not here are stood in for by those that ship with mmrag, and
vision models by the server of `vision_server`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mmrag import EvalSet
from mmrag.cli import main
from mmrag.labels.drafts import Draft, DraftFile

from .documents import CONSOLE, DOCUMENTS, commands, words_of
from .helpers import ROOT
from .reader import PICTURES, QUERIES, make_folder
from .vision_server import KEY, VisionServer

HELP = "mmrag --help"
STANDS_FOR = {
    "visualized-bge-base": "demo",
    "visualized-bge-m3": "demo",
    "bge-vl-base": "demo",
    "bge-vl-large": "demo",
    "clip:ViT-B-32/openai": "demo-clip",
    "FOLDER": "photos",
    "RUN": "latest",
    # There are fewer.
    "100": "5",
    "DIR": "eval_sets/catalogue",
    "SET": "eval_sets/catalogue",
}
# What is not run here, and why. A line that fits no command any more fails.
LEFT_OUT = {
    r"mmrag download": "fetches gigabytes; tests/test_download.py does, from a hub of its own",
    r"mmrag dashboard": "runs until it is stopped; tests/browser",
    r"mmrag demo": "minutes; tests/test_shipped.py",
    r"mmrag bench(?! compare)": "hours; tests/test_bench.py",
    r"mmrag bench compare new.json": "needs two results of hours",
    r"mmrag train|--encoder (grocery|my)-encoder": "hours; tests/test_training.py",
    r"eval-set import (icir|genecis|circus)": "needs the data sets; tests/test_pools.py",
    r"eval-set import lasco": "needs the data set; tests/test_hub_layout.py",
    r"eval-set import grocery": "needs the data set; tests/test_cli.py",
    r"--engine ray|s3://": "starts a cluster, needs a bucket; tests/test_distributed.py",
    r"--uri http": "needs a Milvus server; tests/test_index.py",
    r"eval_sets/grocery": "825 queries over photographs; tests/test_shipped.py",
    r"--encoder api:": "needs a server; tests/test_hosted_encoders.py",
    r"--checkpoint mine.pt": "needs weights of one's own; tests/test_clip.py",
    r"--metric first_place": "a metric that is added; tests/test_contributing.py",
    r"compare RUN RUN|--run 20261127": "placeholders",
    r"mmrag (search|ask)$": "a name in a sentence",
    r"multimodal_rag_demo": "needs another program's collection; tests/test_adopted.py",
    r"--search-url": "needs its server; tests/test_search_url.py",
}
# A condition that holds is no failure.
GATE = "--fail-if"
# What changes nothing is run once, in whichever document.
READS = re.compile(r"mmrag (doctor|encoders|metrics|published|batches|eval-set protocols)")
OTHERS = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(make|python3?) (.*)")


def of_help() -> Iterator[str]:
    """The examples in the help of all commands."""

    def walk(command: click.Command) -> Iterator[str]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from walk(found)
        text = (command.help or "").replace("\\\n", " ")
        yield from (line for line in map(str.strip, text.splitlines()) if line[:6] == "mmrag ")

    return walk(main)


def lines_of(document: str) -> list[str]:
    """Its `mmrag` commands, blanks made one."""
    # Commands that are shown with their output are run by test_documents_output.py.
    text = "" if document == HELP else CONSOLE.sub("", (ROOT / document).read_text("utf-8"))
    found = of_help() if document == HELP else commands(text)
    # Blocks come before what is said in passing; a reader goes from top to bottom.
    in_order = sorted(found, key=lambda line: text.find(line[:25]))
    lines = [re.sub(r"\s+", " ", line) for line in in_order]
    return [line for line in lines if words_of(line)]


def is_left_out(line: str) -> bool:
    return any(re.search(pattern, line) for pattern in LEFT_OUT)


ALL = {
    name: lines
    for name in [*(path.relative_to(ROOT).as_posix() for path in DOCUMENTS), HELP]
    if (lines := lines_of(name))
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder, its state, and a vision model, for all documents."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch, VisionServer(key=KEY) as server:
        patch.setattr("mmrag.vision.server_models._known", {})
        server.models = [{"id": "gpt-4o"}, {"id": "gpt-6.1-terra"}]
        patch.chdir(folder)
        patch.setenv("MMRAG_HOME", str(folder / ".mmrag"))
        patch.setenv("MMRAG_STORE_LINGER", "10")
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
        make_folder(folder)
        for line in (
            "mmrag index photos --metadata photos.csv",
            "mmrag index photos --metadata photos.csv --collection photos",
            "mmrag evaluate eval_sets/catalogue --encoder demo --name baseline",
            "mmrag evaluate eval_sets/catalogue --encoder demo --name demo",
            "mmrag evaluate eval_sets/catalogue --encoder demo-clip --name demo-clip",
            "mmrag export demo --format trec --out bm25.trec",
            "mmrag runs export demo --out baseline.run.gz",
        ):
            assert run(line).exception is None
        shutil.copytree(folder, folder.with_name("as-made"), symlinks=True)
        yield folder


@pytest.fixture(scope="module")
def was_read() -> set[str]:
    return set()


@pytest.fixture
def here(reader: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder and its runs as they were made; what other documents indexed is there."""
    monkeypatch.setenv("MMRAG_HOME", str(reader / ".mmrag"))
    monkeypatch.setenv("MMRAG_STORE_LINGER", "10")
    made = reader.with_name("as-made")
    for path in reader.iterdir():
        if path.name != ".mmrag":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(
        made, reader, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".mmrag")
    )
    restore_runs(reader)
    return reader


def restore_runs(reader: Path) -> None:
    for path in reader.glob(".mmrag/runs.db*"):
        path.unlink()
    for path in reader.with_name("as-made").glob(".mmrag/runs.db*"):
        shutil.copy(path, reader / ".mmrag")


def stand_in(word: str) -> str:
    return "demo-clip" if word.startswith("clip:") else STANDS_FOR.get(word, word)


def run(line: str) -> Result:
    """Run one, and do what a person does before and after it."""
    words = [stand_in(word) for word in words_of(os.path.expandvars(line)) or []]
    if words[:2] == ["eval-set", "check-drafts"] and not DraftFile("my-set").drafts():
        one, other = EvalSet.load("my-set").images[:2]
        DraftFile("my-set").propose([Draft("", one.image_id, other.image_id, "but other")])
    if words[:2] == ["eval-set", "draft"]:
        shutil.rmtree("my-set")
        done = CliRunner().invoke(main, words, standalone_mode=False)
        drafts = DraftFile("my-set")
        for one in drafts.drafts()[:QUERIES]:
            drafts.accept(one.query_id, "Ada")
        return done
    return CliRunner().invoke(main, words, input="3\nq\n", standalone_mode=False)


@pytest.mark.parametrize("document", ALL)
def test_commands_do_what_they_say(document: str, here: Path, was_read: set[str]) -> None:
    wrong = []
    for line in dict.fromkeys(ALL[document]):
        if not is_left_out(line) and line not in was_read:
            if document == HELP:
                # The examples of two commands have nothing to do with each other.
                restore_runs(here)
            done = run(line)
            if READS.match(line):
                was_read.add(line)
            fine = (None, 0, 3) if GATE in line else (None, 0)
            if done.exception is not None or done.return_value not in fine:
                said = f"{done.exception!r} {done.return_value} {done.output[-300:]}"
                wrong.append(f"{line}\n    {said}")
    assert wrong == [], "\n".join(wrong)


def test_what_is_left_out_is_there() -> None:
    lines = [line for found in ALL.values() for line in found]
    assert [one for one in LEFT_OUT if not any(re.search(one, line) for line in lines)] == []
    named = re.findall(r"tests/[\w/.]+", " ".join(LEFT_OUT.values()))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_other_commands_name_what_is_there() -> None:
    """Targets of the Makefile, modules, and files that are run."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    wrong, seen = [], 0
    for path in DOCUMENTS:
        for line in commands(path.read_text("utf-8")):
            if found := OTHERS.match(re.sub(r"\s+#.*", "", line)):
                program, rest = found.groups()
                words = rest.split()
                seen += 1
                if program == "make":
                    there = words[0] in targets
                else:
                    there = words[0] != "-m" or importlib.util.find_spec(words[1]) is not None
                if not there:
                    wrong.append(f"{path.name}: {line}")
    assert wrong == []
    assert seen > 10


def test_the_snippet_of_the_python_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    for name, stand_in in STANDS_FOR.items():
        code = code.replace(f'"{name}"', f'"{stand_in}"')
    exec(compile(code, "python.md", "exec"), {})
    first, *hits = capsys.readouterr().out.splitlines()
    assert first == f"{PICTURES + 1} added, 0 skipped"
    assert [line.split()[0] for line in hits] == [str(rank) for rank in range(1, 10)]
    assert (here / "result.jpg").stat().st_size > 1000


def test_snippets_are_those_that_are_run() -> None:
    """That of python.md above, the others in test_contributing.py and test_search_url.py."""
    with_python = {path.name for path in DOCUMENTS if "```python" in path.read_text("utf-8")}
    assert with_python == {"python.md", "CONTRIBUTING.md", "evaluate.md"}
