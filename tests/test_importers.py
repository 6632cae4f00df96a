"""Importers of other people's formats, on small files written as they are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrag.cli import main
from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.importers import import_eval_set
from mmrag.eval_sets.validate import validate

from .published_forms import (
    CIRCO,
    CIRR,
    FORMATS,
    MEMBERS,
    PINPOINT,
    SIGNATURES,
    imported,
    picture,
    write,
    write_beir,
    write_cirr,
    write_fashioniq,
    write_pinpoint,
)
from .spoiled import spoil_bytes, spoil_value


@pytest.mark.parametrize("format", FORMATS)
def test_import_load_validate(format: str, tmp_path: Path) -> None:
    eval_set = imported(format, tmp_path)
    loaded = EvalSet.load(tmp_path / "set")
    assert loaded.images == eval_set.images
    assert loaded.queries == eval_set.queries
    assert loaded.qrels == {key: value for key, value in eval_set.qrels.items() if value}
    assert loaded.exclude_query_image == eval_set.exclude_query_image
    assert eval_set.missing() == loaded.gallery().skipped == []
    assert loaded.licence
    assert validate(tmp_path / "set").problems == []


def test_cirr(tmp_path: Path) -> None:
    eval_set = imported("cirr", tmp_path)
    assert [image.image_id for image in eval_set.images] == [*MEMBERS, "dev-9-0-img1"]
    assert eval_set.exclude_query_image
    assert eval_set.qrels == {"12060": {MEMBERS[1]: 1}, "12130": {MEMBERS[4]: 1}}
    query = eval_set.queries[0]
    assert query.query_id == "12060"
    assert query.image == str(tmp_path / "source/img_raw/dev" / f"{MEMBERS[0]}.png")
    assert query.text == "show three bottles of soft drink"
    assert query.metadata["subset"] == MEMBERS[1:]
    assert query.metadata["reference"] == MEMBERS[0]
    assert query.metadata["target_soft"] == {MEMBERS[1]: 1.0, MEMBERS[2]: -1.0}


def test_cirr_test_has_no_judgments(tmp_path: Path) -> None:
    eval_set = imported("cirr", tmp_path, split="test1")
    assert eval_set.name == "cirr-test1"
    assert [eval_set.relevant(query.query_id) for query in eval_set.queries] == [set(), set()]
    assert eval_set.queries[1].metadata["subset"] == [n for n in MEMBERS if n != MEMBERS[3]]
    found = validate(tmp_path / "set").problems
    assert [(p.file, p.severity) for p in found] == [("qrels/test.tsv", "warning")]


def test_fashioniq_joins_captions_and_finds_either_suffix(tmp_path: Path) -> None:
    eval_set = imported("fashioniq", tmp_path)
    assert [query.text for query in eval_set.queries] == [
        "Is shiny and silver with shorter sleeves and fit and flare",
        "Is long and has red",
    ]
    assert [Path(image.path).suffix for image in eval_set.images] == [".png", *[".jpg"] * 3]
    assert not eval_set.exclude_query_image
    assert eval_set.queries[0].category == "dress"
    assert eval_set.qrels["dress-val-00000"] == {"B0084Y8XIU": 1}


def test_circo(tmp_path: Path) -> None:
    eval_set = imported("circo", tmp_path)
    query = eval_set.queries[0]
    assert (query.query_id, Path(query.image or "").name) == ("0", "000000271520.jpg")
    assert eval_set.qrels == {"0": {"355099": 1, "528417": 1}}
    assert query.metadata["target"] == "355099"
    assert query.metadata["semantic_aspects"] == ["cardinality", "negation"]
    tests = import_eval_set("circo", tmp_path / "source", tmp_path / "t", split="test")
    assert tests.qrels == {"0": {}}
    info = tmp_path / "source/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
    info.unlink()
    again = import_eval_set("circo", tmp_path / "source", tmp_path / "set")
    assert sorted(i.image_id for i in again.images) == sorted(i.image_id for i in eval_set.images)
    coco = tmp_path / "source/COCO2017_unlabeled"
    coco.rename(tmp_path / "elsewhere")
    with pytest.raises(EvalSetError, match=r"put image_info_unlabeled2017\.json under"):
        import_eval_set("circo", tmp_path / "source", tmp_path / "set")


def test_folder_asks_for_the_same_class(tmp_path: Path) -> None:
    eval_set = imported("folder", tmp_path)
    assert {query.query_id for query in eval_set.queries} == {
        "cat/1.png",
        "cat/3.png",
        "cat/deep/2.png",
    }
    assert eval_set.relevant("cat/1.png") == {"cat/3.png", "cat/deep/2.png"}
    assert {"dog/1.png", "loose.png"} <= {image.image_id for image in eval_set.images}
    with pytest.raises(EvalSetError, match="write the eval set somewhere else"):
        import_eval_set("folder", tmp_path / "source", tmp_path / "source" / "set")


def test_beir_plain_and_with_images(tmp_path: Path) -> None:
    eval_set = imported("beir", tmp_path)
    assert [(i.text, Path(i.path).name) for i in eval_set.images] == [
        ("A mug", "d1.png"),
        ("x", "d2.jpg"),
    ]
    assert [query.query_id for query in eval_set.queries] == ["q1"]
    source = tmp_path / "source"
    lines = [{"_id": "d1", "image": "images/d1.png"}, {"_id": "d2", "image": "images/gone.png"}]
    write(source / "corpus.jsonl", "\n".join(map(json.dumps, lines)))
    named = import_eval_set("beir", source, tmp_path / "set")
    assert [one.path for one in named.missing()] == ["images/gone.png"]


def test_trec_ids_are_paths_or_names_or_listed(tmp_path: Path) -> None:
    eval_set = imported("trec", tmp_path)
    assert sorted(image.image_id for image in eval_set.images) == ["a", "b"]
    assert eval_set.qrels == {"301": {"a": 1, "b": 0}, "302": {"b": 2}}
    assert eval_set.queries[1].image == str(tmp_path / "source/images/a.png")
    source = tmp_path / "source"
    write(source / "qrels.txt", "301 0 a.png 1\n")
    paths = import_eval_set("trec", source, tmp_path / "set").images
    assert sorted(image.image_id for image in paths) == ["a.png", "b.png"]
    write(source / "images.tsv", "one\ta.png\ntwo\tgone.png\n")
    listed = import_eval_set("trec", source, tmp_path / "set")
    assert [one.path for one in listed.missing()] == ["gone.png"]


def test_pinpoint_has_two_pictures_wordings_and_images_judged_wrong(tmp_path: Path) -> None:
    made = imported("pinpoint", tmp_path)
    assert [query.query_id for query in made.queries] == [row["query_id"] for row in PINPOINT]
    assert [[Path(path).stem for path in query.images] for query in made.queries] == [
        SIGNATURES[:1],
        SIGNATURES[:1],
        SIGNATURES[:2],
        SIGNATURES[:1],
    ]
    asked = made.queries[1]
    assert (asked.text, asked.category) == ("What dress fits here?", "Context Fit")
    assert asked.metadata["is_question"] is True
    assert Path(str(asked.image)).relative_to(tmp_path / "source/images") == Path(
        "af/d9/de", f"{SIGNATURES[0]}.jpg"
    )
    assert not made.exclude_query_image, "a query's own picture may be judged wrong"
    zero, _, two, three, four, five = SIGNATURES
    assert made.qrels["query_00001"] == {zero: 0, four: 0, two: 1, three: 1}
    source = tmp_path / "source"
    said = import_eval_set("pinpoint", source, tmp_path / "said", split="paraphrases")
    assert [(query.text, query.paraphrases) for query in said.queries] == [
        ("dress for this place", ("What dress fits here?",)),
        ("both in navy", ()),
        ("shoes for this place", ()),
    ]
    assert said.qrels["query_00001"] == {zero: 0, four: 0, five: 0, two: 1, three: 1}
    assert EvalSet.load(tmp_path / "said").queries == said.queries
    # As published: some stand twice, some on both sides.
    wrong = {"negative_candidates": [two, five, five], "positive_candidates": [two, two]}
    write_pinpoint(source, [{**PINPOINT[0], **wrong}])
    odd = import_eval_set("pinpoint", source, tmp_path / "set")
    assert odd.qrels == {"query_00001": {five: 0, two: 1}}
    assert odd.notes == ("1 judgment both right and wrong, taken as right.",)
    with pytest.raises(EvalSetError, match="use one of queries, paraphrases"):
        import_eval_set("pinpoint", source, tmp_path / "no", split="val")
    (source / "images").rename(tmp_path / "elsewhere")
    done = CliRunner().invoke(
        main, ["eval-set", "import", "pinpoint", str(source), str(tmp_path / "set")]
    )
    assert f"missing af/d9/de/{zero}.jpg: file not found" in done.stdout
    assert "6 pictures are missing" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_id": "query_00002"}, "row 2: the id query_00002 stands twice"),
        ({"instruction": " "}, "row 1: 'instruction' is missing or empty"),
        ({"query_image_signature": "../../x"}, "row 1: a picture must be a signature"),
        ({"query_image_signature": "None"}, "row 1: a picture must be a signature"),
        ({"positive_candidates": ["f" * 32]}, "row 1: the candidate f+ is not in index_sig"),
        ({"negative_candidates": ["f" * 32]}, "row 1: the candidate f+ is not in index_sig"),
    ],
)
def test_pinpoints_rows_are_checked(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    source = write_pinpoint(tmp_path / "source", [{**PINPOINT[0], **change}, *PINPOINT[1:]])
    with pytest.raises(EvalSetError, match=message):
        import_eval_set("pinpoint", source, tmp_path / "set")


def test_annotations_are_enough_and_missing_pictures_are_listed(tmp_path: Path) -> None:
    write_cirr(tmp_path / "source")
    (tmp_path / "source/img_raw").rename(tmp_path / "pictures")
    command = ["eval-set", "import", "cirr", str(tmp_path / "source"), str(tmp_path / "set")]
    plain = CliRunner().invoke(main, command)
    assert plain.exit_code == 0, plain.output
    assert "missing dev/dev-0-0-img0.png: file not found" in plain.stdout
    assert "... and 2 more. 7 pictures are missing" in plain.stdout
    assert "licence: MIT (annotations); photos: terms of NLVR2\nsource: CIRR (Liu" in plain.stdout
    report = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert len(report["missing"]) == 7
    assert report["missing"][0] == {"path": "dev/dev-0-0-img0.png", "reason": "file not found"}
    assert (report["images"], report["queries"], report["judgments"]) == (7, 2, 2)
    there = CliRunner().invoke(main, [*command, "--images", str(tmp_path / "pictures"), "--json"])
    assert json.loads(there.stdout)["missing"] == []
    assert EvalSet.load(tmp_path / "set").image_root == tmp_path / "pictures"


def test_fashioniq_all_makes_three_sets(tmp_path: Path) -> None:
    source = write_fashioniq(tmp_path / "source")
    command = ["eval-set", "import", "fashioniq", str(source), str(tmp_path / "fiq")]
    report = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    names = ["fashioniq-dress-val", "fashioniq-shirt-val", "fashioniq-toptee-val"]
    assert [one["name"] for one in report["sets"]] == names
    assert EvalSet.load(tmp_path / "fiq" / "shirt").queries[0].category == "shirt"
    wrong = CliRunner().invoke(main, [*command, "--category", "hat"])
    assert wrong.exit_code == 2
    wrong = CliRunner().invoke(
        main, ["eval-set", "import", "folder", str(source), str(tmp_path / "x"), "--split", "val"]
    )
    assert wrong.exit_code == 2
    assert "takes no --split" in wrong.output


def test_nobody_elses_files_are_overwritten(tmp_path: Path) -> None:
    imported("cirr", tmp_path)
    import_eval_set("cirr", tmp_path / "source", tmp_path / "set")
    with pytest.raises(EvalSetError, match="already holds the eval set 'cirr-val'"):
        import_eval_set("cirr", tmp_path / "source", tmp_path / "set", split="test1")
    write_beir(tmp_path / "beir")
    before = (tmp_path / "beir" / "corpus.jsonl").read_bytes()
    with pytest.raises(EvalSetError, match="already holds a data set"):
        import_eval_set("beir", tmp_path / "beir", tmp_path / "beir")
    assert (tmp_path / "beir" / "corpus.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../x.png", "a\0.png"])
@pytest.mark.parametrize(
    ("format", "file", "spoil"),
    [
        ("cirr", "image_splits/split.rc2.val.json", lambda n: {**dict.fromkeys(MEMBERS, n)}),
        (
            "circo",
            "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json",
            lambda n: {"images": [{"id": 1, "file_name": n}]},
        ),
        ("fashioniq", "image_splits/split.dress.val.json", lambda n: [n]),
        ("beir", "corpus.jsonl", lambda n: {"_id": "d1", "image": n}),
        ("beir", "corpus.jsonl", lambda n: {"_id": n, "text": "plain"}),
        ("trec", "images.tsv", lambda n: f"a\t{n}\n"),
        ("trec", "topics.tsv", lambda n: f"301\tx\t{n}\n"),
        ("pinpoint", "index_signatures.txt", lambda n: f"{n}\n"),
    ],
)
def test_paths_that_leave_the_root_are_refused(
    tmp_path: Path, name: str, format: str, file: str, spoil: Callable[[str], Any]
) -> None:
    source = FORMATS[format][0](tmp_path / "source")
    write(source / file, spoil(name))
    with pytest.raises(EvalSetError, match=f"{Path(file).name}, (line|entry|image) 1"):
        import_eval_set(format, source, tmp_path / "set", **FORMATS[format][1])
    assert not (tmp_path / "set").exists()


def test_links_out_of_the_root_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    picture(secret)
    imported("cirr", tmp_path)
    root = tmp_path / "source/img_raw"
    # A link in the gallery is skipped; one that stays inside is followed.
    last = root / "dev" / "dev-9-0-img1.png"
    last.unlink()
    last.symlink_to(root / "dev" / f"{MEMBERS[0]}.png")
    assert EvalSet.load(tmp_path / "set").gallery().skipped == []
    last.unlink()
    last.symlink_to(secret)
    skipped = EvalSet.load(tmp_path / "set").gallery().skipped
    assert [(one.path, one.reason) for one in skipped] == [
        ("dev-9-0-img1", "is a link that leads out of the image root")
    ]
    found = validate(tmp_path / "set").problems
    assert [(p.file, p.line, p.severity) for p in found] == [("corpus.jsonl", 7, "error")]
    # A linked folder, with a query's picture in it: the set is not loaded.
    (root / "dev").rename(tmp_path / "moved")
    (root / "dev").symlink_to(tmp_path / "moved")
    with pytest.raises(EvalSetError, match=r"queries\.jsonl, line 1: the image is a link"):
        EvalSet.load(tmp_path / "set")


@pytest.mark.parametrize(
    ("format", "file", "text", "message"),
    [
        ("cirr", "captions/cap.rc2.val.json", "[\n{}\n,,", r"val\.json, line 3: not JSON"),
        ("cirr", "captions/cap.rc2.val.json", "{}", "must hold a list"),
        ("cirr", "captions/cap.rc2.val.json", "[{}]", "entry 1: 'pairid' must be"),
        ("cirr", "captions/cap.rc2.val.json", json.dumps([*CIRR, CIRR[0]]), "entry 3.*twice"),
        ("cirr", "image_splits/split.rc2.val.json", "{}", "is not in the split file"),
        ("fashioniq", "captions/cap.dress.val.json", '[{"candidate": "B00NEW"}]', "'captions'"),
        ("fashioniq", "image_splits/split.dress.val.json", '["a", "a"]', "entry 2: 'a' stands"),
        ("circo", "annotations/val.json", '[{"id": true}]', "entry 1: 'id' must be a whole"),
        ("circo", "annotations/val.json", json.dumps([{**CIRCO[0], "gt_img_ids": [7]}]), "entry 1"),
        ("beir", "qrels/test.tsv", "q1\td1\t1.5\n", r"test\.tsv, line 1: expected"),
        ("beir", "qrels/test.tsv", "q9\td1\t1\n", r"No query of .* is judged"),
        ("beir", "corpus.jsonl", '{"_id": "a"}\n{"_id": "a"}', "line 2: the id 'a' stands twice"),
        ("trec", "qrels.txt", "301 0 a\n", "line 1: expected topic"),
        ("trec", "qrels.txt", "301 0 a 1\n301 0 a 2\n", "line 2: the same topic"),
        ("trec", "topics.tsv", "301\n", "line 1: expected an id"),
    ],
)
def test_errors_name_file_and_place(
    tmp_path: Path, format: str, file: str, text: str, message: str
) -> None:
    source = FORMATS[format][0](tmp_path / "source")
    write(source / file, text)
    with pytest.raises(EvalSetError, match=message) as error:
        import_eval_set(format, source, tmp_path / "set", **FORMATS[format][1])
    assert str(source) in str(error.value)


FILES = [
    ("cirr", "captions/cap.rc2.val.json"),
    ("cirr", "image_splits/split.rc2.val.json"),
    ("fashioniq", "captions/cap.dress.val.json"),
    ("fashioniq", "image_splits/split.dress.val.json"),
    ("circo", "annotations/val.json"),
    ("circo", "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"),
    ("beir", "corpus.jsonl"),
    ("beir", "queries.jsonl"),
    ("beir", "qrels/test.tsv"),
    ("trec", "topics.tsv"),
    ("trec", "qrels.txt"),
    ("pinpoint", "index_signatures.txt"),
    ("pinpoint", "pinpoint_licensed.parquet"),
]


@pytest.mark.parametrize(("format", "file"), FILES)
def test_garbled_files_give_eval_set_errors(
    tmp_path_factory: pytest.TempPathFactory, format: str, file: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("fuzz")
    source = FORMATS[format][0](tmp_path / "source")
    whole = (source / file).read_bytes()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        if file.endswith(".json") and data.draw(st.booleans()):
            garbled = json.dumps(spoil_value(data, json.loads(whole))).encode()
        else:
            garbled = spoil_bytes(data, whole)
        (source / file).write_bytes(garbled)
        reasons = []
        try:
            import_eval_set(format, source, tmp_path / "set", **FORMATS[format][1])
            EvalSet.load(tmp_path / "set").gallery()
        except EvalSetError as error:
            reasons.append(str(error))
        assert all(str(source) in reason for reason in reasons)

    run()


@pytest.mark.timeout(120)
def test_large_sets_are_loaded_in_one_pass(tmp_path: Path) -> None:
    """120,000 images: one look-up per picture, or a search per line, would meet the limit."""
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(2_000):
        (root / f"{number:06}.jpg").touch()
    lines = (f'{{"_id":"{n}","image":"{n:06}.jpg","text":"a mug"}}\n' for n in range(120_000))
    write(tmp_path / "corpus.jsonl", "".join(lines))
    write(tmp_path / "queries.jsonl", '{"_id": "1", "text": "x"}\n')
    write(tmp_path / "qrels/test.tsv", "1\t1\t1\n")
    write(tmp_path / "eval_set.json", {"name": "large", "image_root": "pictures"})
    gallery = EvalSet.load(tmp_path).gallery()
    assert (len(gallery.images), len(gallery.skipped)) == (2_000, 118_000)
