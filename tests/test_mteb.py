"""MTEB: encoders as its models, runs as its result files; judged by mteb itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmrag import evaluate
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.protocols import protocols
from mmrag.runs.exports import export_run, write_export
from mmrag.runs.mteb_results import TASKS, task_of
from mmrag.search.searcher import Searcher

from .evaluation_fixtures import colours, index, searcher  # noqa: F401

mteb = pytest.importorskip("mteb", reason="requirements-mteb.txt is not installed")


@pytest.fixture
def composed(colours: EvalSet, tmp_path: Path) -> EvalSet:  # noqa: F811
    """The queries with picture and text, in a folder of their own."""
    queries = [query for query in colours.queries if query.image and query.text]
    qrels = {query.query_id: colours.qrels[query.query_id] for query in queries}
    found = replace(
        colours, name="composed", folder=tmp_path / "composed", queries=queries, qrels=qrels
    )
    found.save()
    return EvalSet.load(found.folder)


def task(eval_set: EvalSet) -> Any:
    """The set as a task of mteb."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    def rows(ids: list[str], paths: list[str]) -> dict[str, Any]:
        return {"id": ids, "image": [Image.open(path) for path in paths]}

    corpus = rows([i.image_id for i in eval_set.images], [i.path for i in eval_set.images])
    asked = rows(
        [q.query_id for q in eval_set.queries], [str(q.image) for q in eval_set.queries]
    ) | {"text": [q.text for q in eval_set.queries]}

    class Composed(AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(
            name="Composed",
            description="Pictures and how the wanted one differs.",
            dataset={"path": "none", "revision": "1"},
            type="Any2AnyRetrieval",
            category="it2i",
            modalities=["text", "image"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **_: Any) -> None:
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_dict(corpus),
                        "queries": Dataset.from_dict(asked),
                        "relevant_docs": {q: dict(one) for q, one in eval_set.qrels.items()},
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Composed()


def test_mteb_scores_an_encoder_as_we_do(
    composed: EvalSet,
    searcher: Searcher,  # noqa: F811
    tiny: Encoder,
    tmp_path: Path,
) -> None:
    from mteb.models import EncoderProtocol, ModelMeta
    from mteb.results import TaskResult

    from mmrag.integrations.mteb import mteb_model

    model = mteb_model(tiny, name="mmrag/tiny")
    assert isinstance(model, EncoderProtocol)
    found = mteb.evaluate(
        model, task(composed), cache=None, show_progress_bar=False, co2_tracker=False
    )
    (theirs,) = found.task_results[0].scores["test"]
    run = evaluate(composed, searcher, 20)
    result, meta = write_export(run, "mteb", tmp_path / "out")
    assert (result.name, meta.name) == ("composed.json", "model_meta.json")
    read = TaskResult.from_disk(result)
    (ours,) = read.scores["test"]
    shared = [name for name in ours if name.rpartition("_at_")[2] in ("1", "3", "5", "10", "20")]
    assert len(shared) == 30
    for name in shared:
        assert ours[name] == pytest.approx(theirs[name], abs=2e-5), name
    assert ours["main_score"] == ours["ndcg_at_10"] == pytest.approx(theirs["main_score"], abs=2e-5)
    assert read.evaluation_time is not None
    assert read.evaluation_time > 0
    told = ModelMeta(**json.loads(meta.read_text()))
    assert told.revision == model.mteb_model_meta.revision
    assert told.embed_dim == tiny.info.dim


def test_a_run_of_a_protocol_of_mieb_is_its_task(
    composed: EvalSet,
    searcher: Searcher,  # noqa: F811
) -> None:
    run = evaluate(composed, searcher, 5)
    assert task_of(run).name == "composed"
    for (benchmark, name), known in TASKS.items():
        run.config["protocol"] = protocols(benchmark)[name].as_json()
        assert task_of(run) == known
        asked = mteb.get_task(known.name).metadata
        assert (known.revision, known.main_score) == (asked.revision, asked.main_score)
    del run.config["protocol"]
    scores = json.loads(export_run(run, "mteb")[0][1])["scores"]["test"][0]
    assert "recall_at_5" in scores
    assert "recall_at_10" not in scores, "the run ends before"
