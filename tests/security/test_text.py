# ruff: noqa: E501
"""Text from data stays text: no markup, formula, filter, SQL, second log line or terminal control."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser

from mmrag import EvalSet, ImageIndex, MmragError, Query, RunStore, open_gallery
from mmrag.cli import run as command
from mmrag.cli.options import print_json
from mmrag.encoders.encoder import Encoder
from mmrag.runs.exports import export_run
from mmrag.runs.frames import as_csv as frame_as_csv
from mmrag.runs.run import Run
from mmrag.system.jobs import JobQueue
from mmrag.types import Hit, SearchResult
from mmrag.ui.tables import guarded
from mmrag.ui.tiles import as_csv, as_json

from ..browser.conftest import browser as browser
from .hostile import HOSTILE, made_run, made_set

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile")
    return made_run(folder, made_set(folder / "set", HOSTILE), RunStore("sqlite://"), HOSTILE)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("harmless")
    texts = [f"word{n}" for n in range(len(HOSTILE))]
    return made_run(folder, made_set(folder / "set", texts), RunStore("sqlite://"), texts)


class Outline(html.parser.HTMLParser):
    """Which elements a page has, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.odd: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[f"{tag} {sorted(name for name, _ in attrs)}"] += 1
        for name, value in attrs:
            if name in ("src", "href", "action") and not (value or "").startswith("data:image/"):
                self.odd.append(f"{tag} {name}={value}")

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    def handle_pi(self, data: str) -> None:
        self.odd.append(data)


def test_the_report_has_the_same_elements_whatever_the_texts_are(
    hostile: Run, harmless: Run
) -> None:
    bad = export_run(hostile, "html")[0][1].decode()
    good = export_run(harmless, "html")[0][1].decode()
    assert Outline(bad).seen == Outline(good).seen
    assert Outline(bad).odd == []
    assert "alert(1)" in bad, "the texts are in it"
    assert "{{ 7 * 7 }}" in bad, "and are no template"
    assert "default-src 'none'" in bad


def test_the_report_in_a_browser_runs_nothing(
    hostile: Run,
    tmp_path: Path,
    browser: Browser,
) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(export_run(hostile, "html")[0][1])
    page, odd = browser.new_page(), []
    page.on("dialog", lambda dialog: (odd.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: odd.append(asked.url))
    page.goto(report.as_uri())
    page.mouse.move(300, 300)
    assert [url for url in odd if url != report.as_uri() and not url.startswith("data:")] == []
    assert page.get_by_text("<script>alert(1)</script>").count() > 0, "as text"
    assert page.locator("script, iframe, [onerror], [onload], [onmouseover]").count() == 0
    page.close()


@pytest.mark.parametrize("format", ["csv", "search", "frame"])
def test_tables_hold_no_formula(hostile: Run, format: str) -> None:
    formulas = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '"=1', "＝1"]
    if format == "csv":
        for one, formula in zip(hostile.rankings["retrieval"].values(), formulas, strict=False):
            one.details["explanation"] = formula
        text = export_run(hostile, "csv")[0][1].decode()
    elif format == "frame":  # pairs of near duplicates, and the table of runs
        text = frame_as_csv(pd.DataFrame({one: [one] for one in formulas}))
    else:
        hits = [Hit(n, one, f"/x/{one}", 0.5, n, one, {}) for n, one in enumerate(formulas, 1)]
        text = as_csv(SearchResult(Query(text="x"), hits, {}))
        assert json.loads(as_json(SearchResult(Query(text="x"), hits, {})))["hits"]
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert any(cell.lstrip("'").lstrip().startswith("=") for cell in cells), "they are there"
    for cell in cells:
        number = re.fullmatch(r"-?[0-9.e-]+", cell)
        assert number or not re.match(r"[\s\"]*[=+\-@＝]|[\t\r\n]", cell), cell


def test_tables_on_the_pages_hold_no_formula() -> None:
    """Their toolbar offers what they were given as CSV."""
    formulas = ["=1+1", "+A1", "-1+1", "@SUM(A1)", "\t=1", " =1", '"=1', "＝1", "+1 (p = 1)+A1"]
    harmless = ["a mug", "", "-5", "+0.021 (p = 0.004)", "-0.1 (p < 0.001)", "1-2"]
    shown = guarded([{"text": text, "number": -1.5} for text in formulas + harmless])
    assert shown["text"].tolist() == [*(f"'{one}" for one in formulas), *harmless]
    assert shown["number"].dtype == float
    times = pd.DataFrame({"when": [pd.Timestamp("2025-01-01")], "none": [None], "flag": [True]})
    pd.testing.assert_frame_equal(guarded(times), times)
    assert guarded([]).empty
    for page in (Path(__file__).parents[2] / "mmrag" / "ui").rglob("*.py"):
        source = page.read_text()
        ways = re.findall(r"\bst\.(?:dataframe|data_editor|table)\(\s*(\w+\()?", source)
        assert set(ways) <= {"guarded("}, page.name


def test_sql_is_never_made_of_text(hostile: Run, tmp_path: Path) -> None:
    with RunStore(tmp_path / "runs.db") as store:
        eval_set = EvalSet.load(hostile.eval_set.folder)
        run = made_run(tmp_path, eval_set, store, HOSTILE)
        store.save(run)
        for text in [*HOSTILE, "' OR '1'='1", "%", "_", '"; DELETE FROM mmrag_runs --']:
            assert {one.name for one in store.runs(eval_set=text)} <= {run.name}
            if text != run.name:
                with pytest.raises(MmragError, match="no run"):
                    store.find(text)
        assert store.load(run.run_id).notes == HOSTILE
        assert set(store.load(run.run_id).rankings["retrieval"]) == {
            q.query_id for q in eval_set.queries
        }
        with pytest.raises(MmragError, match="no run"):
            store.delete("' OR '1'='1")
        assert store.find(run.name) == run.run_id


def test_ids_are_no_filter(tmp_path: Path, tiny: Encoder) -> None:
    """Milvus's driver writes keys into expressions; the rows that are meant are the only ones."""
    root = tmp_path / "pictures"
    root.mkdir()
    names = ['a" or key != ".png', "b' or 1==1.png", "c\\.png", "d%.png", "e{x}.png", "f.png"]
    for n, name in enumerate(names):
        Image.new("RGB", (9, 9), (40 * n, 0, 0)).save(root / name)
    with ImageIndex.open(tmp_path / "store.db", encoder=tiny) as index:
        assert index.add(open_gallery(root)).added == len(names)
        for name in names:
            assert set(index.get([name], ["path"])) == {name}
        assert index.get(['" or key != "'], ["path"]) == {}
        (root / names[0]).unlink()
        assert index.add(open_gallery(root)).removed == 1
        assert {row["image_id"] for row in index.rows(["image_id"])} == set(names[1:])


def test_terminals_are_not_steered(
    hostile: Run,
    tmp_path: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every command that shows text from data, on a gallery and an eval set full of escapes."""
    folder, encoder = hostile.eval_set.folder, ("--encoder", str(tiny_folder))
    pictures = str(Path(folder) / "pictures")
    (tmp_path / "m.json").write_text(
        json.dumps(
            [{"image": path.name, "text": HOSTILE[7] + HOSTILE[8], HOSTILE[7]: HOSTILE[7]}
             for path in Path(pictures).iterdir()]
            + [{"image": HOSTILE[7]}]
        )
    )  # fmt: skip
    run_file = tmp_path / "run.trec"
    run_file.write_text((Path(folder).parent / "run.trec").read_text())
    for arguments, status in [
        (["index", pictures, "--metadata", str(tmp_path / "m.json"), *encoder], 0),
        (["search", "--text", "a mug", *encoder], 0),
        (["search", "--text", "a mug", "--filter", "\x1b[2J", *encoder], 1),
        (["search", "--image", "/nonexistent/\x1b[2J.png", *encoder], 1),
        (["eval-set", "info", folder], 0),
        (["eval-set", "validate", folder], 0),
        (["import-run", str(run_file), "--eval-set", folder, "--name", HOSTILE[7]], 0),
        (["runs"], 0),
        (["compare", "latest", "latest"], 0),
        (["evaluate", folder, *encoder, "-k", "5"], 0),
        (["runs", "--delete", "\x1b[2J"], 1),
        (["encoders"], 0),
    ]:
        assert command(arguments) == status, (arguments, capfd.readouterr())
        said = capfd.readouterr()
        assert said.out + said.err
        assert not CONTROL.search(said.out), (arguments, CONTROL.findall(said.out))
        # Progress bars draw over themselves.
        assert not CONTROL.search(said.err.replace("\r", "").replace("\x1b[A", "")), arguments


def test_a_log_record_is_one_line() -> None:
    code = (
        "import logging, sys, mmrag.cli\n"
        "mmrag.cli.run(['--help'])\n"
        "logging.getLogger('mmrag').warning('about %s', sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "x\nERROR: forged\r\x1b[2J"], capture_output=True, text=True
    )
    assert done.stderr.count("\n") == 1
    assert not CONTROL.search(done.stderr.rstrip("\n"))
    assert "forged" in done.stderr


def test_a_job_that_fails_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    queue = JobQueue()

    def fail(*_: object) -> str:
        raise KeyError("x\nERROR: forged \x1b[2J")

    job = queue.submit("title", fail)
    assert queue.wait(job, 10).state == "failed"
    (record,) = [r for r in caplog.records if "failed" in r.getMessage()]
    assert record.levelno == logging.ERROR
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()


# The package's style sheet, a constant script, and the cookie's, which `ui/test_sign_in.py` reads.
HARMLESS_HTML = (
    'st.html(_HERE / "page.css")',
    'st.html(f"<script>{_FOCUS}</script>"',
    "st.html(script,",
)


def test_the_picture_grid_takes_texts_as_texts() -> None:
    """Its script has one way to put text into the page."""
    script = (Path(__file__).parents[2] / "mmrag" / "ui" / "picture_grid.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in script
    pages = Path(__file__).parents[2] / "mmrag" / "ui"
    for page in pages.rglob("*.py"):
        source = page.read_text()
        assert "unsafe_allow_html" not in source, page.name
        for harmless in HARMLESS_HTML:
            source = source.replace(harmless, "")
        assert "st.html(" not in source, page.name
        assert "components.v1" not in source, page.name


def test_names_that_are_no_utf_8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file name of other bytes is shown and kept, or refused in a sentence."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (3, 3)).save(folder / "a.png")
    Path(os.fsdecode(bytes(folder) + b"/bad\xff.png")).write_bytes(b"x")
    metadata = tmp_path / "m.json"
    metadata.write_text('[{"image": "\\ud800.png"}]')
    assert command(["eval-set", "validate", os.fsdecode(b"/nonexistent/\xff")]) == 1
    assert "has no eval_set.json" in capfd.readouterr().out
    gallery = open_gallery(folder, metadata)
    assert len(gallery.skipped) == 2
    print_json({"skipped": [replace(one) for one in gallery.skipped]})
    assert json.loads(capfd.readouterr().out)["skipped"]
