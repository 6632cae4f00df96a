"""Which model `vision` means, and what is said of models that leave."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmrag import load_reranker
from mmrag.doctor import examine
from mmrag.errors import ModelServerError
from mmrag.ui import resources
from mmrag.vision.model import VisionModel
from mmrag.vision.models import TABLE

from .helpers import ROOT, models
from .vision_fixtures import colours, ids, nearest_first, result_of
from .vision_server import Scene, VisionServer


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("whisper-1", "gpt-4o", "gpt-6-luna", "gpt-6.1-sol"), "gpt-6-luna"),
        (("gpt-4o-mini", "gpt-4o"), "gpt-4o"),
        (("text-model", "qwen3-vl:8b", "embedder"), "qwen3-vl:8b"),
        (("whatever.gguf",), "whatever.gguf"),
    ],
)
def test_vision_is_the_best_that_the_server_has(
    server: VisionServer, tmp_path: Path, names: tuple[str, ...], chosen: str
) -> None:
    models(server, *names)
    shown = colours(4)
    done = load_reranker("vision").rerank(result_of(tmp_path, shown))
    assert ids(done) == nearest_first(shown)
    assert server.bodies[-1]["model"] == chosen
    assert done.rerank is not None
    assert done.rerank.reranker == f"openai:{chosen}"
    load_reranker("vision")
    assert server.listed == 1, "it is asked once"


def test_what_cannot_be_told_is_asked_for(
    server: VisionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    models(server, "one", "two")
    with pytest.raises(ModelServerError, match=r"name one as openai:MODEL.*It has one, two\."):
        load_reranker("vision")
    monkeypatch.setenv("MMRAG_VISION_MODEL", "two")
    assert load_reranker("vision").name == "openai:two"


def test_a_model_that_leaves_is_spoken_of(server: VisionServer) -> None:
    models(server, "gpt-4o", "gpt-4o-mini", gpt_4o=47, gpt_4o_mini=400)
    (said,) = load_reranker("gpt-4o").notices()
    assert "in 47 days; its successor is gpt-6-luna (openai:gpt-6-luna)." in said
    assert VisionModel("gpt-4o-mini").notice() is None
    assert "is not among the models of" in str(VisionModel("gpt-5-mini").notice())
    assert VisionModel("any-name").notice() is None, "local servers take any name"
    report = examine()
    assert report.vision_model == "gpt-4o"
    (check,) = [one for one in report.checks() if one.name == "Vision model"]
    assert (check.state, said in check.advice) == ("warning", True)
    assert said in report.as_json()["model_notices"]


def test_every_figure_says_where_it_was_read_and_when() -> None:
    document = json.loads(TABLE.read_text())
    for name, line in document["models"].items():
        assert re.fullmatch(r"2026-\d\d(-\d\d)?", line["read"]), name
        assert line["source"], name
        of = line.get("from", {})
        further = {"image", "shutdown", "azure_shutdown", "successor"} & line.keys()
        assert set(of) == further, name
        assert set(of.values()) <= document["sources"].keys(), name
    told = (ROOT / "docs" / "vision-models.md").read_text()
    rows = [f"| {' | '.join(cells)} |" for cells in table_of_models(document)]
    assert "\n".join(rows) in told, "the page's table is:\n" + "\n".join(rows)
    assert all(one["url"] in told for one in document["sources"].values())


def table_of_models(document: dict[str, Any]) -> list[list[str]]:
    """The rows of the page: price, where and when it was read, and how long the model is there."""
    rows = []
    for name, line in document["models"].items():
        if line["source"] == "the model's name":
            continue
        price = "unknown"
        if "input" in line:
            price = " / ".join(f"{line[one]:g}" for one in ("input", "output"))
        day = line.get("shutdown")
        until = f"{day}, then `{line['successor']}`" if day else ""
        rows.append([f"`{name}`", price, f"[{line['read']}]({line['source']})", until])
    return rows


def test_a_model_that_is_gone_names_its_successor(server: VisionServer, tmp_path: Path) -> None:
    server.always = Scene(status=404, error={"message": "The model does not exist"})
    with pytest.raises(ModelServerError, match=r"has no model 'gpt-5-mini'.*openai:gpt-6.1-terra"):
        load_reranker("openai:gpt-5-mini").rerank(result_of(tmp_path, colours(3)))


def test_the_page_offers_what_the_server_has(server: VisionServer) -> None:
    models(server, "whisper-1", "brand-new", "gpt-4o", "gpt-6-luna", "Qwen3-VL-Embedding-2B")
    offered = resources.vision_choices()
    assert list(offered)[:3] == ["vision", "vision-images", "openai:gpt-6-luna"]
    assert "gpt-6-luna" in offered["vision"].label
    assert "USD per 1,000 queries" in offered["openai:gpt-6-luna"].offer
    assert list(offered)[3:] == ["gpt-4o", "gpt-4o-images", "openai:brand-new"], "seeing ones first"
    assert offered["openai:brand-new"].offer == "brand-new, panorama, no price known"

    def price(**shown: float) -> float:
        chosen = resources.vision_choices(resources.Shown(**shown))  # type: ignore[arg-type]
        return float(chosen["gpt-4o"].offer.split(" about ")[1].split()[0])

    assert price(candidates=5) < price(candidates=10) < price(candidates=40)
    assert price(candidates=10) < price(candidates=10, description=400)
    typed = resources.reranker_choice(offered, " my-model")
    assert typed.name == "openai:my-model"
    assert all(one.costs_money for one in [*offered.values(), typed])
    assert [resources.has_price(one) for one in (offered["vision"], typed)] == [True, False]
