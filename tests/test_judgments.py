"""Qrels files as further judgments: kept as sets of their own, runs scored with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmrag import config
from mmrag.errors import MmragError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.eval_sets.validate import validate
from mmrag.runs.importing import import_run
from mmrag.runs.judgments import import_qrels, remove_judgments, rescore, uploaded_judgments
from mmrag.runs.store import RunStore
from mmrag.types import GalleryImage


@pytest.fixture
def eval_set(tmp_path: Path) -> EvalSet:
    """Three queries over four images, one id with a blank in it."""
    root = tmp_path / "pictures"
    root.mkdir()
    for name in "abcd":
        Image.new("RGB", (8, 8), "red").save(root / f"{name}.png")
    images = [GalleryImage(i, str(root / f"{i[0]}.png")) for i in ("a", "b", "c", "d one")]
    queries = [EvalQuery(f"q{i}", None, f"text {i}", category="xy"[i % 2]) for i in range(3)]
    qrels = {"q0": {"a": 1}, "q1": {"b": 1}, "q2": {"c": 1}}
    made = EvalSet("things", tmp_path / "things", root.resolve(), images, queries, qrels)
    made.save()
    return EvalSet.load(made.folder)


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with RunStore(tmp_path / "runs.db") as opened:
        yield opened


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "assessor.qrels"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def ranked(tmp_path: Path) -> Path:
    """A run that puts a, b, c and "d one" first for q0, q1, q2 in turn; d%20one is the latter."""
    path = tmp_path / "mine.trec"
    orders = {"q0": "a b c d%20one", "q1": "b a c d%20one", "q2": "d%20one c a b"}
    path.write_text(
        "".join(
            f"{query} Q0 {image} {rank} {10 - rank} mine\n"
            for query, order in orders.items()
            for rank, image in enumerate(order.split(), start=1)
        )
    )
    return path


def test_a_run_is_scored_with_the_new_judgments(
    tmp_path: Path, eval_set: EvalSet, store: RunStore
) -> None:
    run = import_run(ranked(tmp_path), eval_set, store)
    assert run.metrics["hit_rate@1"] == pytest.approx(2 / 3)
    path = write(tmp_path, "q0 0 b 1", "q0 0 a -2", "q1 0 b 2", "q2 0 d%20one 1")
    judged, notes = import_qrels(path, eval_set, "Second assessor!")
    assert notes == []
    assert judged.name == "things-Second-assessor"
    assert judged.qrels["q0"] == {"b": 1, "a": 0}
    assert judged.qrels["q2"] == {"d one": 1}
    assert [i.path for i in judged.images] == [i.path for i in eval_set.images]
    assert judged.queries == eval_set.queries
    assert validate(judged.folder).count("error") == 0
    again = rescore(run, judged, store)
    kept = store.load(again.run_id)
    assert kept.eval_set.name == "things-Second-assessor"
    assert kept.metrics["hit_rate@1"] == pytest.approx(2 / 3)
    assert kept.metrics["RR"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert kept.ranking() == run.ranking()
    assert kept.config["rescored"] == run.run_id
    # Scored anew from the file, the numbers are the same.
    fresh = import_run(ranked(tmp_path), judged, store)
    assert fresh.metrics == kept.metrics
    assert fresh.eval_set.labels_sha256 == kept.eval_set.labels_sha256


def test_the_same_judgments_give_the_same_numbers(
    tmp_path: Path, eval_set: EvalSet, store: RunStore
) -> None:
    run = import_run(ranked(tmp_path), eval_set, store)
    path = write(tmp_path, "query-id\tcorpus-id\tscore", "q0\ta\t1", "q1\tb\t1", "q2\tc\t1")
    judged, _ = import_qrels(path, eval_set, "same")
    assert rescore(run, judged, store).summaries == run.summaries


def test_what_the_file_lacks_and_what_it_has_too_much_is_said(
    tmp_path: Path, eval_set: EvalSet
) -> None:
    path = write(tmp_path, "q0 0 a 1", "q1 0 b 0", "other 0 nowhere 1")
    judged, notes = import_qrels(path, eval_set, "few")
    assert set(judged.qrels) == {"q0", "q1"}
    assert notes == [
        "2 queries have no right image in the file and count in no metric.",
        "1 query of the file is not in the set and was left out.",
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["q0 0 zebra 1"], "'zebra', which is not in the eval set"),
        (["q0 0 a"], "line 1: expected topic"),
        (["q0 0 a 1", "q0 0 a 2"], "line 2: the same topic and image were graded differently"),
        (["q0 0 a 0"], "judges no image right"),
        (["nobody 0 a 1"], "judges no image right"),
        ([], "holds no judgments"),
    ],
)
def test_a_wrong_file_leaves_nothing(
    tmp_path: Path, eval_set: EvalSet, lines: list[str], words: str
) -> None:
    with pytest.raises(MmragError, match=words):
        import_qrels(write(tmp_path, *lines), eval_set, "wrong")
    assert not (config.home() / "eval_sets").exists()


def test_a_name_stays_in_its_folder_and_is_given_once(tmp_path: Path, eval_set: EvalSet) -> None:
    path = write(tmp_path, "q0 0 a 1")
    judged, _ = import_qrels(path, eval_set, "../../x")
    assert judged.folder == config.home() / "eval_sets" / "things-x"
    for title in ("x", "/x/"):
        with pytest.raises(MmragError, match="already"):
            import_qrels(path, eval_set, title)
    with pytest.raises(MmragError, match="Give the judgments a name"):
        import_qrels(path, eval_set, "../..")


def test_judgments_go_with_the_runs_that_came_with_them(
    tmp_path: Path, eval_set: EvalSet, store: RunStore
) -> None:
    run = import_run(ranked(tmp_path), eval_set, store)
    judged, _ = import_qrels(write(tmp_path, "q0 0 a 1"), eval_set, "x")
    again = rescore(run, judged, store)
    assert remove_judgments("things-x", store) == [again.run_id]
    assert [one.run_id for one in store.runs()] == [run.run_id]
    assert EvalSet.load(eval_set.folder).qrels == eval_set.qrels


def test_only_uploaded_judgments_are_removed(
    tmp_path: Path, eval_set: EvalSet, store: RunStore
) -> None:
    import_qrels(write(tmp_path, "q0 0 a 1"), eval_set, "x")
    own = config.home() / "eval_sets" / "own"
    eval_set.folder.rename(own)
    assert {"things-x", "own"} <= set(known_eval_sets())
    assert list(uploaded_judgments()) == ["things-x"]
    for name in ("own", "../eval_sets/things-x", "", "."):
        with pytest.raises(MmragError, match="no uploaded judgments"):
            remove_judgments(name, store)
    outside = tmp_path / "outside"
    (config.home() / "eval_sets" / "things-x").rename(outside)
    (config.home() / "eval_sets" / "link").symlink_to(outside)
    with pytest.raises(MmragError, match="no uploaded judgments"):
        remove_judgments("link", store)
    outside.rename(config.home() / "eval_sets" / "things-x")
    remove_judgments("things-x", store)
    assert "things-x" not in known_eval_sets()
    assert "own" in known_eval_sets()


def test_a_run_of_other_queries_is_refused(
    tmp_path: Path, eval_set: EvalSet, store: RunStore
) -> None:
    run = import_run(ranked(tmp_path), eval_set, store)
    fewer = eval_set.with_queries(eval_set.queries[:1])
    with pytest.raises(MmragError, match="ranks other queries or images"):
        rescore(run, fewer, store)
