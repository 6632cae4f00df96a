"""The catalogue eval set: the shipped files, and the generator that wrote them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eval_sets.make_catalogue.__main__ import main
from eval_sets.make_catalogue.attributes import ALL_COMBOS, Combo, is_seen
from eval_sets.make_catalogue.scene import encoded, render
from eval_sets.make_catalogue.wording import PARAPHRASES, TRAINING
from eval_sets.make_catalogue.writing import versions

SHIPPED = Path(__file__).parent.parent / "eval_sets" / "catalogue"
COMPOSED = {"theme", "colour", "pattern", "product"}
ATTRIBUTES = ("product", "pattern", "colour")
Record = dict[str, Any]


class Loaded:
    """An eval set read as any reader of the layout would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: Record = json.loads((folder / "eval_set.json").read_text("utf-8"))
        self.corpus = {one["_id"]: one for one in _lines(folder / "corpus.jsonl")}
        self.queries = list(_lines(folder / "queries.jsonl"))
        self.qrels: dict[str, dict[str, int]] = defaultdict(dict)
        with (folder / "qrels" / "test.tsv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                grades = self.qrels[row["query-id"]]
                assert row["corpus-id"] not in grades
                grades[row["corpus-id"]] = int(row["score"])

    def right(self, query: Record, least: int = 1) -> set[str]:
        return {key for key, grade in self.qrels[query["_id"]].items() if grade >= least}


def _lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _combo(metadata: Record) -> Combo:
    return Combo(*(metadata[name] for name in ATTRIBUTES))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _make(out: Path, *more: str) -> Path:
    assert main([str(out), "--seed", "5", "--images", "24", "--queries", "20", *more]) == 0
    return out


@pytest.fixture(scope="module")
def shipped() -> Loaded:
    return Loaded(SHIPPED)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    out = tmp_path_factory.mktemp("train")
    arguments = ["--seed", "11", "--split", "train", "--images", "40", "--queries", "400"]
    # Only the words are looked at, so that drawing 400 pictures is spared.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval_sets.make_catalogue.writing._draw", lambda job: None)
        assert main([str(out), *arguments, "--workers", "1"]) == 0
    return Loaded(out)


def test_the_same_seed_gives_the_same_files_with_any_number_of_workers(tmp_path: Path) -> None:
    first = _files(_make(tmp_path / "one", "--workers", "1"))
    assert len(first) > 40
    assert first == _files(_make(tmp_path / "again", "--workers", "1"))
    assert first == _files(_make(tmp_path / "two", "--workers", "2"))


def test_a_smaller_set_leaves_no_stale_pictures(tmp_path: Path) -> None:
    _make(tmp_path, "--workers", "1")
    arguments = ["--seed", "5", "--images", "6", "--queries", "6", "--workers", "1"]
    assert main([str(tmp_path), *arguments]) == 0
    assert len(list((tmp_path / "images").iterdir())) == 6


def test_shipped_pictures_come_out_of_the_generator(shipped: Loaded) -> None:
    exact = shipped.about["drawn_with"] == versions()
    seed = shipped.about["seed"]
    for number, one in enumerate(list(shipped.corpus.values())[:12]):
        stored = (SHIPPED / one["image"]).read_bytes()
        drawn = render(_combo(one["metadata"]), seed, (1, number))
        if exact:
            assert encoded(drawn) == stored
        else:
            picture = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"), np.float64)
            assert np.abs(picture - drawn).mean() < 12


def test_shipped_words_come_out_of_the_generator(
    shipped: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval_sets.make_catalogue.writing._draw", lambda job: None)
    assert main([str(tmp_path), "--workers", "1"]) == 0
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_shipped_counts(shipped: Loaded) -> None:
    kinds = {
        name: {one["metadata"][name] for one in shipped.corpus.values()} for name in ATTRIBUTES
    }
    assert len(kinds["product"]) >= 12
    assert len(kinds["pattern"]) >= 14
    assert len(kinds["colour"]) == 10
    assert 850 <= len(shipped.corpus) <= 950
    assert len(shipped.queries) >= 600
    count = Counter(query["category"] for query in shipped.queries)
    assert set(count) == COMPOSED | {"text", "image"}
    assert all(count[name] >= 100 for name in COMPOSED)
    assert sum(count[name] for name in COMPOSED) >= 450
    composed = [query for query in shipped.queries if query["category"] in COMPOSED]
    assert sum(len(query.get("paraphrases", [])) == 3 for query in composed) >= 150
    assert sum("question" in query for query in shipped.queries) >= 60
    assert sum(query["metadata"].get("unseen", False) for query in composed) >= 120
    assert sum(map(len, _files(SHIPPED).values())) <= 12 * 2**20


def test_every_file_that_is_named_is_there_and_no_other(shipped: Loaded) -> None:
    named = [one["image"] for one in (*shipped.corpus.values(), *shipped.queries) if "image" in one]
    assert len(named) == len(set(named))
    stored = {name for name in _files(SHIPPED) if name.endswith(".webp")}
    assert set(named) == stored
    with Image.open(SHIPPED / named[0]) as picture:
        assert picture.size == (160, 160)


def test_ids_and_requests_are_unique(shipped: Loaded) -> None:
    ids = [query["_id"] for query in shipped.queries]
    assert len(ids) == len(set(ids))
    assert set(shipped.qrels) == set(ids)
    for query in shipped.queries:
        assert "image" in query or "text" in query
        assert (query["category"] in COMPOSED) == ("image" in query and "text" in query)
    texts = [query["text"] for query in shipped.queries if "image" not in query]
    assert len(texts) == len(set(texts))


def _expected(query: Record) -> Callable[[Combo], int]:
    """The grade an image of a combination should have, from what the query shows and asks."""
    meta = query["metadata"]
    target = meta["target"]

    def fits(combo: Combo, *names: str) -> bool:
        return all(getattr(combo, name) == target[name] for name in names)

    asks = meta.get("asks", "full")
    if asks == "prefer":
        return lambda combo: 2 * fits(combo, *ATTRIBUTES) or int(fits(combo, "product", "pattern"))
    return lambda combo: 2 * fits(combo, *target)


@pytest.mark.parametrize("which", ["shipped", "train"])
def test_judgments_agree_with_the_metadata(which: str, request: pytest.FixtureRequest) -> None:
    loaded: Loaded = request.getfixturevalue(which)
    combos = {key: _combo(one["metadata"]) for key, one in loaded.corpus.items()}
    for query in loaded.queries:
        grade = _expected(query)
        judged = loaded.qrels[query["_id"]]
        wanted = {key: grade(combo) for key, combo in combos.items() if grade(combo)}
        assert wanted, query
        assert {key: score for key, score in judged.items() if score} == wanted, query
        negatives = [combos[key] for key, score in judged.items() if score == 0]
        assert len(negatives) <= 5
        target = query["metadata"]["target"]
        for combo in negatives:
            assert sum(getattr(combo, name) == target[name] for name in target) >= len(target) - 1


def test_a_change_changes_exactly_the_attribute_that_is_named(shipped: Loaded) -> None:
    for query in shipped.queries:
        meta = query["metadata"]
        if query["category"] in ("colour", "pattern", "product"):
            changed = [name for name in ATTRIBUTES if meta["shows"][name] != meta["target"][name]]
            assert changed == [query["category"]]
        elif query["category"] == "image":
            assert meta["shows"] == meta["target"]


def test_questions_have_one_right_image_whose_description_answers_them(shipped: Loaded) -> None:
    for query in shipped.queries:
        if "question" not in query:
            continue
        (right,) = shipped.right(query)
        assert any(answer in shipped.corpus[right]["text"] for answer in query["answers"]), query


def test_a_fifth_of_the_combinations_is_held_out_by_name_alone() -> None:
    held_out = sum(not is_seen(combo) for combo in ALL_COMBOS)
    assert 0.17 < held_out / len(ALL_COMBOS) < 0.23
    assert is_seen(Combo("mug", "plain", "red"))


def test_seen_is_recorded(shipped: Loaded) -> None:
    for one in shipped.corpus.values():
        assert one["metadata"]["seen"] == is_seen(_combo(one["metadata"]))
    for query in shipped.queries:
        target = query["metadata"]["target"]
        if len(target) == len(ATTRIBUTES):
            assert query["metadata"]["unseen"] == (not is_seen(_combo(target)))


def test_training_never_shows_a_held_out_combination(train: Loaded) -> None:
    assert all(is_seen(_combo(one["metadata"])) for one in train.corpus.values())
    for query in train.queries:
        for key in ("shows", "target"):
            named = query["metadata"].get(key, {})
            assert len(named) < len(ATTRIBUTES) or is_seen(_combo(named))


def _patterns(templates: Mapping[str, tuple[str, ...]]) -> list[re.Pattern[str]]:
    found = []
    for template in (one for group in templates.values() for one in group):
        pieces = [re.escape(piece) for piece in re.split(r"\{\w+\}", template)]
        found.append(re.compile(r"[\w -]+".join(pieces)))
    return found


def test_held_out_wording_stays_out_of_training(shipped: Loaded, train: Loaded) -> None:
    held_out = _patterns(PARAPHRASES)
    trained = _patterns({name: TRAINING[name] for name in PARAPHRASES})
    for query in train.queries:
        for text in filter(None, (query.get("text"), *query.get("paraphrases", []))):
            assert not any(pattern.fullmatch(text) for pattern in held_out), text
    seen = 0
    for query in shipped.queries:
        for text in query.get("paraphrases", []):
            seen += 1
            assert any(pattern.fullmatch(text) for pattern in held_out), text
            assert not any(pattern.fullmatch(text) for pattern in trained), text
        assert len(set(query.get("paraphrases", []))) == len(query.get("paraphrases", []))
    assert seen >= 450


def test_wrong_use_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--images", "0"])
    assert stop.value.code == 2
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main([str(blocked), "--images", "2", "--queries", "6"]) == 1
    assert "cannot write" in capsys.readouterr().err
