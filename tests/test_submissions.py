"""The servers' submission files: written, read back, and refused when they do not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.submissions import circo, cirr

from .published_forms import CIRCO, MEMBERS, imported
from .spoiled import spoil_bytes, spoil_value

OTHER = "dev-9-0-img1"


@pytest.fixture
def cirr_set(tmp_path: Path) -> EvalSet:
    return imported("cirr", tmp_path, split="test1")


@pytest.fixture
def circo_set(tmp_path: Path) -> EvalSet:
    return imported("circo", tmp_path / "circo", split="test")


def test_cirr_writes_the_two_files(
    cirr_set: EvalSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rankings = {
        # The reference (members[0]) is left out, and what stands twice counts once.
        "12060": [OTHER, MEMBERS[0], MEMBERS[5], MEMBERS[2], MEMBERS[5], MEMBERS[1], MEMBERS[4]],
        # Two members are beyond the ranking: 0, 1 and 5 are unknown to it; 5 has an order.
        "12130": [MEMBERS[4], OTHER],
    }
    with caplog.at_level(logging.WARNING):
        files = cirr.submission(rankings, cirr_set, {"12130": [MEMBERS[5]]})
    assert files == [
        (
            "cirr_recall.json",
            {
                "version": "rc2",
                "metric": "recall",
                "12060": [OTHER, MEMBERS[5], MEMBERS[2], MEMBERS[1], MEMBERS[4]],
                "12130": [MEMBERS[4], OTHER],
            },
        ),
        (
            "cirr_recall_subset.json",
            {
                "version": "rc2",
                "metric": "recall_subset",
                "12060": [MEMBERS[5], MEMBERS[2], MEMBERS[1]],
                "12130": [MEMBERS[4], MEMBERS[5], MEMBERS[0]],
            },
        ),
    ]
    # Not ranked: member 3 of the first query, members 0, 1 and 2 of the second.
    assert "4 subset members are in no ranking" in caplog.text
    assert "2 rankings hold less than 50 images; use -k 50" in caplog.text
    for name, document in files:
        path = tmp_path / name
        path.write_text(json.dumps(document))
        back = cirr.read(path, cirr_set)
        assert back == {key: document[key] for key in rankings}


def test_cirr_cuts_at_50(cirr_set: EvalSet, caplog: pytest.LogCaptureFixture) -> None:
    long = [f"x{number}" for number in range(80)] + MEMBERS
    files = cirr.submission({q.query_id: long for q in cirr_set.queries}, cirr_set)
    assert files[0][1]["12060"] == long[:50]
    # The members stand beyond 50 in the ranking; their order there is what counts.
    assert files[1][1]["12060"] == MEMBERS[1:4]
    assert caplog.text == ""


def test_circo_writes_numbers_without_repeats(circo_set: EvalSet, tmp_path: Path) -> None:
    ranking = ["528417", "271520", "528417", "355099", "534704"]
    ((name, document),) = circo.submission({"0": ranking}, circo_set)
    assert (name, document) == ("circo.json", {"0": [528417, 271520, 355099, 534704]})
    path = tmp_path / name
    path.write_text(json.dumps(document))
    assert circo.read(path, circo_set) == {"0": ["528417", "271520", "355099", "534704"]}
    path.write_text('{"0": ["528417"]}')
    assert circo.read(path, circo_set) == {"0": ["528417"]}
    many = [str(number) for number in range(70)]
    assert circo.submission({"0": many}, circo_set)[0][1]["0"] == list(range(50))


def test_servers_want_every_query(cirr_set: EvalSet, circo_set: EvalSet) -> None:
    with pytest.raises(EvalSetError, match="has no ranking of 1 queries of cirr-test1: 12130"):
        cirr.submission({"12060": [OTHER]}, cirr_set)
    with pytest.raises(EvalSetError, match="ranks unknown 1 queries of circo-test: 7"):
        circo.submission({"0": ["271520"], "7": ["271520"]}, circo_set)
    with pytest.raises(EvalSetError, match="has no subset and reference"):
        cirr.submission({"0": ["271520"]}, circo_set)
    with pytest.raises(EvalSetError, match="is no number of CIRCO"):
        circo.submission({q.query_id: MEMBERS for q in cirr_set.queries}, cirr_set)


HEAD = {"version": "rc2", "metric": "recall"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[", "line 1: not JSON"),
        ([], "not a submission to CIRR"),
        ({"metric": "recall"}, "'version' must be 'rc2'"),
        ({"version": "rc2", "metric": ["recall"]}, "not a submission to CIRR"),
        ({**HEAD, "1": []}, "query '1': is not in the eval set"),
        ({**HEAD, "12060": "x"}, "must have a list of image ids"),
        ({**HEAD, "12060": [1]}, "must have a list of image ids"),
        ({**HEAD, "12060": ["nope"]}, "the image 'nope' is not in the gallery"),
        ({**HEAD, "12060": [OTHER, OTHER]}, "an image stands twice"),
    ],
)
def test_what_does_not_fit_is_refused(
    cirr_set: EvalSet, tmp_path: Path, document: Any, message: str
) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(EvalSetError, match=message) as error:
        cirr.read(path, cirr_set)
    assert "theirs.json" in str(error.value)


@pytest.mark.parametrize("server", ["cirr", "circo"])
def test_garbled_files_give_eval_set_errors(tmp_path: Path, server: str) -> None:
    eval_set = imported(server, tmp_path)
    module: Any = {"cirr": cirr, "circo": circo}[server]
    good: dict[str, Any] = {**HEAD, "12060": MEMBERS, "12130": [OTHER]}
    if server == "circo":
        good = {"0": CIRCO[0]["gt_img_ids"]}
    path = tmp_path / "theirs.json"

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            path.write_text(json.dumps(spoil_value(data, good)))
        else:
            path.write_bytes(spoil_bytes(data, json.dumps(good).encode()))
        reasons, rankings = [], {}
        try:
            rankings = module.read(path, eval_set)
        except EvalSetError as error:
            reasons.append(str(error))
        assert all("theirs.json" in reason for reason in reasons)
        ids = {image.image_id for image in eval_set.images}
        assert all(set(ranking) <= ids for ranking in rankings.values())

    run()
