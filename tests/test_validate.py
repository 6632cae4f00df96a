"""`eval-set validate`: every problem with its file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrag.cli import main
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.validate import Problem, validate

from .helpers import invoke


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    for name in ("a.png", "b.png", "q.png"):
        Image.new("RGB", (9, 9)).save(folder / name)
    (folder / "eval_set.json").write_text('{"name": "mine"}')
    lines(folder, "corpus.jsonl", {"_id": "a", "image": "a.png"}, {"_id": "b", "image": "b.png"})
    lines(
        folder,
        "queries.jsonl",
        {"_id": "1", "image": "q.png", "text": "in red", "metadata": {"x": 1}},
        {"_id": "2", "text": "a mug", "question": "How much?", "answers": ["3"]},
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t2\n2\tb\t1\n")
    return folder


def lines(folder: Path, file: str, *records: Any, mode: str = "w") -> None:
    with (folder / file).open(mode) as out:
        out.writelines((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records)


def found(folder: Path) -> list[tuple[str, int | None, str, str]]:
    return [(p.file, p.line, p.severity, p.message) for p in validate(folder).problems]


def test_a_good_set_has_no_problems(good: Path) -> None:
    result = validate(good, decode=True)
    assert result.problems == []
    assert (result.images, result.queries, result.judgments) == (2, 2, 2)


@pytest.mark.parametrize(
    ("file", "line", "severity", "message"),
    [
        ("corpus.jsonl", "{", "error", "not JSON"),
        ("corpus.jsonl", "[]", "error", "not an object"),
        ("corpus.jsonl", {"_id": "c"}, "error", "'image' is missing"),
        ("corpus.jsonl", {"_id": "c", "image": ""}, "error", "'image' is missing"),
        ("corpus.jsonl", {"image": "a.png"}, "error", "'_id' is missing"),
        ("corpus.jsonl", {"_id": True, "image": "a.png"}, "error", "'_id' is missing"),
        ("corpus.jsonl", {"_id": "a", "image": "b.png"}, "error", "also stands in line 1"),
        ("corpus.jsonl", {"_id": "c", "image": "../x.png"}, "error", "leaves the image root"),
        ("corpus.jsonl", {"_id": "c", "image": "/etc/passwd"}, "error", "leaves the image root"),
        ("corpus.jsonl", {"_id": "c", "image": "gone.png"}, "error", "'gone.png': file not found"),
        ("corpus.jsonl", {"_id": "c", "image": "qrels"}, "error", "'qrels': is not a file"),
        ("corpus.jsonl", {"_id": "c", "image": "a.png"}, "warning", "the picture of line 1"),
        ("queries.jsonl", {"_id": "3", "text": 3}, "error", "'text' must be a string"),
        ("queries.jsonl", {"_id": "3", "text": "  "}, "error", "needs an image, a text, or both"),
        ("queries.jsonl", {"_id": "3", "image": "gone.png"}, "error", "file not found"),
        ("queries.jsonl", {"_id": "1", "text": "x"}, "error", "the id '1' also stands in line 1"),
        ("queries.jsonl", {"_id": "3", "text": "x"}, "warning", "'3' has no judgments"),
        ("queries.jsonl", {"_id": "3", "text": "x", "answers": "y"}, "error", "list of strings"),
        ("queries.jsonl", {"_id": "3", "text": "x", "answers": ["y"]}, "warning", "no question"),
        ("queries.jsonl", {"_id": "3", "text": "x", "question": "y"}, "warning", "no answers"),
        ("queries.jsonl", {"_id": "3", "text": "x", "txet": "y"}, "warning", "'txet' is not used"),
        ("queries.jsonl", {"_id": "3", "text": "x", "metadata": []}, "warning", "no judgments"),
        ("queries.jsonl", {"_id": "3", "text": "x", "metadata": [1]}, "error", "an object"),
        ("qrels/test.tsv", "1 a 1", "error", "expected query-id, corpus-id"),
        ("qrels/test.tsv", "1\tb\t1.0", "error", "expected query-id, corpus-id"),
        ("qrels/test.tsv", "9\ta\t1", "error", "the query '9' is unknown"),
        ("qrels/test.tsv", "1\tz\t1", "error", "the image 'z' is unknown"),
        ("qrels/test.tsv", "1\tb\t-1", "error", "the grade -1 is negative"),
        ("qrels/test.tsv", "1\tb\t99", "warning", "the grade 99 is unusually high"),
        ("qrels/test.tsv", "1\ta\t1", "error", "graded 2 in line 2"),
        ("qrels/test.tsv", "1\ta\t2", "warning", "also stands in line 2"),
    ],
)
def test_each_problem_has_file_and_line(
    good: Path, file: str, line: Any, severity: str, message: str
) -> None:
    lines(good, file, line, mode="a")
    number = 4 if file.startswith("qrels") else 3
    problems = found(good)
    assert any(
        (where, place, how) == (file, number, severity) and message in what
        for where, place, how, what in problems
    ), problems


def test_every_problem_of_a_line_is_reported(good: Path) -> None:
    record = {"_id": "a", "image": "../x.png", "text": 1, "metadata": "x", "odd": 1}
    lines(good, "corpus.jsonl", record, mode="a")
    messages = [what for _, line, _, what in found(good) if line == 3]
    assert len(messages) == 5


def test_problems_of_the_whole_set(good: Path) -> None:
    (good / "eval_set.json").write_text('{"exclude_query_images": true, "seed": 1}')
    assert found(good) == [
        (
            "eval_set.json",
            None,
            "warning",
            "'exclude_query_images': is 'exclude_query_image' meant?",
        )
    ]
    (good / "eval_set.json").write_text('{"exclude_query_image": "no"}')
    with pytest.raises(EvalSetError, match="must be true or false"):
        EvalSet.load(good)
    assert "must be true or false" in found(good)[0][3]
    (good / "eval_set.json").write_text('{"image_root": "pictures"}')
    assert len(found(good)) == 1
    assert "is not there" in found(good)[0][3]
    (good / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    (good / "eval_set.json").write_text('{\n"name": }')
    assert [(file, line) for file, line, _, _ in found(good)] == [
        ("eval_set.json", 2),
        ("qrels/test.tsv", None),
    ]
    (good / "corpus.jsonl").unlink()
    assert any("corpus.jsonl cannot be read" in what for *_, what in found(good))


def test_queries_that_cannot_be_right(good: Path) -> None:
    (good / "eval_set.json").write_text('{"exclude_query_image": true}')
    lines(good, "corpus.jsonl", {"_id": "q", "image": "q.png"}, mode="a")
    (good / "qrels" / "test.tsv").write_text("1\tq\t1\n2\tb\t0\n")
    assert [(line, what) for _, line, _, what in found(good)] == [
        (1, "the query '1' asks for its own image, which is left out"),
        (2, "the query '2' has no right image"),
    ]


def test_links_and_damaged_pictures(good: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (good / "a.png").unlink()
    (good / "a.png").symlink_to(tmp_path / "outside.png")
    (good / "q.png").write_bytes(b"no picture")
    assert found(good) == [
        (
            "corpus.jsonl",
            1,
            "error",
            "the picture 'a.png': is a link that leads out of the image root",
        )
    ]
    seen: list[tuple[int, int]] = []
    decoded = validate(good, decode=True, progress=lambda *step: seen.append(step)).problems
    assert decoded[1] == Problem(
        "queries.jsonl", 1, "error", "the picture 'q.png': not an image in a supported format"
    )
    assert seen == [(1, 2), (2, 2)]


def test_the_command_line(good: Path) -> None:
    done = invoke("eval-set", "validate", str(good), "--decode")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 images, 2 queries, 2 judgments, 0 errors, 0 warnings\n"
    lines(good, "corpus.jsonl", {"_id": "c\x1b[2J", "image": "gone.png"}, mode="a")
    lines(good, "qrels/test.tsv", *(f"{n}\t\x1b[2J\t1" for n in range(60)), mode="a")
    done = invoke("eval-set", "validate", str(good))
    assert done.returncode == 1
    assert "corpus.jsonl:3: error: the picture 'gone.png': file not found" in done.stdout
    assert "more problems (--json prints all)" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr.startswith(f"Error: {good} has 119 errors.")
    report = json.loads(invoke("eval-set", "validate", str(good), "--json").stdout)
    assert report["errors"] == 119 == len(report["problems"])
    assert set(report["problems"][0]) == {"file", "line", "severity", "message"}
    help = CliRunner().invoke(main, ["eval-set", "validate", "--help"])
    assert "Example:" in help.output


@pytest.mark.parametrize("file", ["eval_set.json", "corpus.jsonl", "queries.jsonl", "test.tsv"])
def test_what_loads_is_valid_and_what_does_not_is_reported(
    good: Path, tmp_path: Path, file: str
) -> None:
    """Garbled files: `validate` and `load` agree, and neither fails in another way."""
    path = good / "qrels" / file if file == "test.tsv" else good / file
    whole = path.read_bytes()

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 20)))
        path.write_bytes(whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:])
        errors = validate(good).count("error")
        try:
            EvalSet.load(good)
        except EvalSetError:
            assert errors

    run()
