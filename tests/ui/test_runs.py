"""The Runs page's logic, without a browser."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from mmrag import ImageIndex, Searcher, evaluate
from mmrag.encoders.encoder import Encoder
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.evaluation.ablations import Ablations
from mmrag.rerank import load_reranker
from mmrag.runs import frames
from mmrag.runs.compare import Entry, run_table, stage_entries, told_apart
from mmrag.runs.importing import import_run
from mmrag.runs.labels import labels_of
from mmrag.runs.published import beside
from mmrag.runs.run import Run
from mmrag.ui import resources, run_charts
from mmrag.ui.comparison_report import comparison_report
from mmrag.ui.tables import guarded

from ..test_published_figures import run as of_published_figures
from .pages import captions, click, open_page, run, texts, tiles


@pytest.fixture
def reranked(mugs: EvalSet, tiny: Encoder) -> Run:
    """A run with two stages."""
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        searcher = Searcher(index, tiny, load_reranker("encoder:tiny", encoder=tiny))
        return evaluate(mugs, searcher, 12, store=resources.runs())


def trec(mugs: EvalSet, image: int) -> bytes:
    """A run that ranks one image first for every query."""
    ids = [mugs.images[image].image_id, mugs.images[11].image_id]
    return "".join(
        f"{query.query_id} Q0 {one} {rank} {9 - rank} elsewhere\n"
        for query in mugs.queries
        for rank, one in enumerate(ids, start=1)
    ).encode()


def upload(mugs: EvalSet, name: str, data: bytes):  # type: ignore[no-untyped-def]
    page = open_page("runs")
    page.file_uploader(key="import_file").upload(name, data, "text/plain")
    return click(page, "Add")


def test_without_runs_it_says_how_to_make_them(mugs: EvalSet) -> None:
    page = open_page("runs")
    assert "No runs yet" in page.info[0].value
    assert "Add" in [button.label for button in page.button]


def test_one_run_with_two_stages_is_compared_with_itself(mugs: EvalSet, reranked: Run) -> None:
    page = open_page("runs")
    table = page.dataframe[0].value
    assert len(table) == 2
    assert table["Δ hit_rate@10"].tolist()[0] == "(compared with)"
    assert len(page.get("vega_lite_chart")) == 1, "only the open tab is drawn"
    page = open_page("runs", show="queries", runs=reranked.run_id)
    assert "6 same" in captions(page)
    assert len(tiles(page, "drill_0")) == 8
    page = open_page("runs", show="queries", runs=reranked.run_id, drill="q4", changed="same")
    assert sum(tile["mark"] == "right" for tile in tiles(page, "drill_0")) == 1
    assert "q4, 1 right image in the gallery" in captions(page)
    assert {"mark": None}.items() <= tiles(page, "drill_0")[1].items(), "the others: not judged"


def test_two_runs_of_one_name_are_two_lines_and_two_bars(mugs: EvalSet, tiny: Encoder) -> None:
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        searcher = Searcher(index, tiny, load_reranker("encoder:tiny", encoder=tiny))
        made = [
            evaluate(mugs, searcher, 12, rerank_k=depth, store=resources.runs(), resume=False)
            for depth in (10, 5)
        ]
    assert made[0].name == made[1].name
    ids = [one.run_id for one in made]
    labels = [f"{made[0].name} · reranks {depth}" for depth in (10, 5)]
    page = open_page("runs", runs=ids)
    assert page.dataframe[0].value["run"].tolist() == labels
    assert "Holm's method over the 3 differences shown" in captions(page)
    assert "smallest corrected p here is 0.0003" in captions(page)
    page.multiselect(key="metrics_mugs").set_value(["hit_rate@1"])
    assert "over the one difference shown" in captions(run(page)), "what is not shown costs nothing"
    assert "smallest corrected p here is 0.0001" in captions(page)
    page = open_page("runs", runs=ids, show="categories")
    bars = json.loads(page.get("vega_lite_chart")[0].proto.spec)["layer"][0]["encoding"]
    assert (bars["x"]["stack"], bars["yOffset"]["field"]) == (None, "run")
    assert bars["y"]["axis"]["labelOverlap"] is False, "every category has its name"
    table = page.dataframe[1].value
    assert set(labels) <= set(table)
    assert len(table) == 2, "the numbers stand below, a row for each category"
    assert page.selectbox(key="export_run").options == [f"{made[0].name} · {i}" for i in ids]


def test_a_query_shows_what_it_lost_what_it_missed_and_what_nobody_judged(
    mugs: EvalSet, reranked: Run
) -> None:
    upload(mugs, "other.trec", trec(mugs, 0))
    (other,) = [one for one in resources.runs().runs() if one.run_id != reranked.run_id]
    page = open_page("runs", show="queries", runs=[reranked.run_id, other.run_id], changed="lost")
    table = page.dataframe[1].value
    assert set(table["change"] < 0) == {True}
    assert list(table["change"]) == sorted(table["change"]), "what lost most comes first"
    assert table["first right after"].isna().all()
    assert table["picture"].str.startswith("data:image/").all()
    query_id = table["query"].iloc[0]
    first, second, missed = tiles(page, "drill_1")
    assert [one["mark"] for one in (first, second, missed)] == [None, None, "right"]
    assert (missed["badge"], missed["caption"]) == ("–", "missed")
    assert missed["id"] in mugs.relevant(query_id)
    before = resources.runs().load(reranked.run_id).rankings[reranked.stage][query_id].image_ids
    assert (first["moved"], first["score"]) == (before.index(first["id"]), "8.000")
    assert "The right image is not among the 2 kept results." in captions(page)
    assert {"Hit rate@1", "Reciprocal rank"} <= set(page.dataframe[2].value["metric"])


def test_a_link_chooses_runs_and_tab(mugs: EvalSet, reranked: Run) -> None:
    page = open_page("runs", runs=reranked.run_id, show="categories")
    assert page.multiselect(key="runs").value == [reranked.run_id]
    assert page.get("vega_lite_chart")
    page = open_page("runs", runs="gone", show="nonsense")
    assert page.multiselect(key="runs").value == [reranked.run_id]
    assert "the run “gone”" in page.warning[0].value.replace("\\", "")


def test_a_run_is_uploaded_compared_and_removed(mugs: EvalSet, reranked: Run) -> None:
    page = upload(mugs, "other.trec", trec(mugs, 0))
    assert "Added as run" in texts(page)
    (other,) = [one for one in resources.runs().runs() if one.run_id != reranked.run_id]
    assert (other.name, other.config["imported"]) == ("elsewhere", "other.trec")
    assert page.multiselect(key="runs").value == [reranked.run_id, other.run_id]
    page = open_page("runs", runs=[reranked.run_id, other.run_id])
    assert page.dataframe[0].value["run"].tolist() == [reranked.name, "elsewhere"]
    assert page.selectbox(key="remove").options == [f"elsewhere · mugs · {other.run_id}"], (
        "what was evaluated here is not offered"
    )
    page.selectbox(key="remove").set_value(f"run/{other.run_id}")
    click(run(page), "Remove")
    assert "Remove it" in [button.label for button in page.button]
    assert len(resources.runs().runs()) == 2, "it asks first"


def test_all_runs_are_narrowed_to_what_is_looked_for(mugs: EvalSet, reranked: Run) -> None:
    upload(mugs, "**other**.trec", trec(mugs, 0))

    def listed(page: AppTest) -> list[str]:
        frames = [one.value for one in run(page).dataframe]
        return next((list(one["name"]) for one in frames if "p95 ms" in one and "name" in one), [])

    page = open_page("runs")
    assert listed(page) == ["elsewhere", reranked.name]
    assert page.selectbox(key="list_reranker").options == ["encoder:tiny", "not known"]
    page.selectbox(key="list_encoder").select_index(1)
    assert listed(page) == [reranked.name]
    assert "1 of 2" in captions(page)
    page.text_input(key="list_find").set_value("Elsewhere")
    assert listed(page) == []
    assert "No matching runs" in page.info[0].value
    page.selectbox(key="list_encoder").set_value(None)
    assert listed(page) == ["elsewhere"]
    page.text_input(key="list_find").set_value("")
    page.selectbox(key="list_eval_set").set_value("mugs")
    page.selectbox(key="list_state").set_value("complete")
    assert len(listed(page)) == 2
    assert listed(open_page("runs", list_find="elsewhere", list_state="gone")) == ["elsewhere"]


def test_a_wrong_file_is_a_sentence_with_its_own_name(mugs: EvalSet) -> None:
    page = upload(mugs, "bad.trec", b"this is no run")
    assert "bad.trec, line 1: expected query" in texts(page)
    assert "/tmp" not in texts(page)
    assert resources.runs().runs() == []


def test_judgments_are_uploaded_scored_and_removed(mugs: EvalSet, reranked: Run) -> None:
    page = open_page("runs")
    wrong = b"q0 0 nowhere.png 1\n"
    page.file_uploader(key="qrels_file").upload("wrong.qrels", wrong, "text/plain")
    click(page, "Add judgments")
    assert "Give the judgments a name" in texts(page)
    page.text_input(key="judgments_name").set_value("second")
    click(page, "Add judgments")
    assert "wrong.qrels: query 'q0' judges 'nowhere.png'" in texts(page)
    qrels = "".join(f"q{i} 0 {mugs.images[11].image_id} 1\n" for i in range(6)).encode()
    page.file_uploader(key="qrels_file").upload("second.qrels", qrels, "text/plain")
    click(page, "Add judgments")
    assert "Added as eval set mugs-second; 1 run is scored with them." in texts(page)
    assert "mugs-second" in known_eval_sets()
    scored = resources.runs().runs("mugs-second")
    assert [one.config["rescored"] for one in scored] == [reranked.run_id]
    page = open_page("runs", runs=scored[0].run_id, show="queries")
    assert page.selectbox(key="runs_set").value == "mugs-second"
    right = [tile["id"] for tile in tiles(page, "drill_0") if tile["mark"] == "right"]
    assert set(right) <= {mugs.images[11].image_id}
    page.selectbox(key="remove").set_value("set/mugs-second")
    click(run(page), "Remove")
    assert "The 1 uploaded or re-scored runs that were scored with it go too." in texts(page)
    assert "mugs-second" in known_eval_sets(), "it asks first"


def test_charts_and_table_are_files(mugs: EvalSet, reranked: Run) -> None:
    entries = stage_entries(reranked)
    found = run_table(entries)
    charts = {
        "Hit rate over k": run_charts.hit_rates(frames.curves(entries, mugs)),
        "By <b>category</b>": run_charts.category_bars(
            frames.categories(entries, "hit_rate@1"), "hit_rate@1"
        ),
        "Gain and cost": run_charts.trade_off(frames.trade_off(found, "hit_rate@1"), "hit_rate@1"),
    }
    archive = zipfile.ZipFile(io.BytesIO(run_charts.as_zip(charts)))
    names = ["hit-rate-over-k", "by-b-category-b", "gain-and-cost"]
    assert sorted(archive.namelist()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("svg", "vl.json")
    )
    for name in names:
        svg = archive.read(f"{name}.svg").decode()
        assert svg.startswith("<svg")
        assert reranked.name in svg or "encoder:tiny" in svg
        assert json.loads(archive.read(f"{name}.vl.json"))["datasets"]
    named = frames.categories(entries, "hit_rate@1").assign(category=f"{'a long name ' * 3}of it")
    assert f">{'a long name ' * 3}of it<" in run_charts.as_svg(
        run_charts.category_bars(named, "hit_rate@1")
    )
    written = pd.read_csv(io.StringIO(frames.as_csv(frames.numbers(found, ["hit_rate@1"]))))
    assert written["hit_rate@1"].tolist() == pytest.approx(
        [row.metrics["hit_rate@1"].mean for row in found.rows]
    )
    assert written["hit_rate@1 difference"].isna().tolist() == [True, False]


def test_a_comparison_is_one_page_without_markup_from_data(mugs: EvalSet, reranked: Run) -> None:
    entries = told_apart(
        [Entry(replace(reranked, name="<b>a</b>"), stage) for stage in reranked.scores]
    )
    found = run_table(entries, ["hit_rate@1"])
    charts = {"curve": run_charts.hit_rates(frames.curves(entries, mugs))}
    page = comparison_report(entries, found, ["hit_rate@1"], "what it is", charts).decode()
    assert "&lt;b&gt;a&lt;/b&gt; (retrieval)" in page
    assert "<b>a" not in page
    assert page.count("data:image/svg+xml;base64,") == 1
    assert "By category" in page


def test_a_table_holds_no_formulas() -> None:
    table = pd.DataFrame({"run": ["=1+1", "plain"], "value": [-0.5, 1.0]})
    assert frames.as_csv(table) == "run,value\n'=1+1,-0.5\nplain,1.0\n"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("-0.010 [-0.082, +0.062]", "-0.010 [-0.082, +0.062]"),
        ("+0.021 (p = 0.004)", "+0.021 (p = 0.004)"),
        ("-0.010 [-0.082, cmd()]", "'-0.010 [-0.082, cmd()]"),
        ("-1+2 [-0.082, +0.062]", "'-1+2 [-0.082, +0.062]"),
    ],
)
def test_a_number_with_its_interval_is_no_formula(cell: str, shown: str) -> None:
    assert guarded([{"change": cell}])["change"].tolist() == [shown]


def test_charts_hold_no_formulas() -> None:
    """Their toolbar shows what they were given, as a table with a CSV."""
    row = {"run": "=1+1", "category": "@b", "query": "-c", "k": 1, "hit rate": 0.5, "value": 0.5}
    row |= {"low": 0.4, "high": 0.6, "p50 ms": 3.0, "USD per query": 0.0, "change": -0.5}
    frame = pd.DataFrame([row])
    for chart in (
        run_charts.hit_rates(frame),
        run_charts.category_bars(frame, "mrr"),
        run_charts.trade_off(frame, "mrr"),
        run_charts.query_changes(frame, "mrr"),
    ):
        spec = json.loads(chart.to_json())
        assert "a" in spec["description"].split(), "what a screen reader says"
        ((shown,),) = spec["datasets"].values()
        texts_of = {key: shown[key] for key in ("run", "category", "query")}
        assert texts_of == {"run": "'=1+1", "category": "'@b", "query": "'-c"}
        assert shown["change"] == -0.5


def test_an_export_of_what_is_gone_is_a_sentence(
    mugs: EvalSet, reranked: Run, tmp_path: Path
) -> None:
    page = open_page("runs")
    mugs.folder.rename(tmp_path / "elsewhere")
    click(page, "Prepare")
    assert "is not an eval set" in texts(page)


def test_queries_of_one_label_and_the_parts_beside_the_whole(mugs: EvalSet, tiny: Encoder) -> None:
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        searcher = Searcher(index, tiny)
        labelled = evaluate(
            mugs, searcher, 12, store=resources.runs(), ablations=Ablations(modality=True)
        )
    labels = labels_of(labelled)
    query_id, label = next(iter(labels.items()))
    page = open_page("runs", show="queries", runs=labelled.run_id, drill=query_id)
    assert label in set(page.dataframe[1].value["needs"])
    for place, part in enumerate(("image alone", "text alone"), start=1):
        shown = [tile["id"] for tile in tiles(page, f"drill_{place}")][:8]
        assert shown == labelled_order(labelled, part, query_id)[:8]
        assert f"({part})" in texts(page)
    page = open_page("runs", show="queries", runs=labelled.run_id, needs=label)
    count = sum(one == label for one in labels.values())
    assert f"Only the {count} queries that are labelled “{label}”." in captions(page)
    assert len(page.dataframe[1].value) == count
    page = open_page("runs", show="ablations", runs=labelled.run_id)
    shares = next(one.value for one in page.dataframe if "share" in one.value)
    assert shares[shares["queries that"] == label]["count"].tolist() == [count]
    assert any("composition gap" in one.value for one in page.dataframe)


def test_ablations_are_tables_with_bars(mugs: EvalSet, tiny: Encoder) -> None:
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        run_id = evaluate(
            mugs,
            Searcher(index, tiny),
            12,
            store=resources.runs(),
            ablations=Ablations(modality=True, index=True),
        ).run_id
    page = open_page("runs", runs=run_id, show="ablations")
    table = page.dataframe[1].value
    ways = ["image alone", "text alone", "both"]
    assert list(table)[:4] == ["metric", *ways]
    spec = json.loads(page.get("vega_lite_chart")[0].proto.spec)
    assert spec["description"].endswith("a bar for each of: image alone, text alone, both")
    assert spec["encoding"]["yOffset"]["field"] == spec["encoding"]["color"]["field"] == "way"
    chart = run_charts.ablation_bars(table, "what")
    assert chart is not None
    (drawn,) = json.loads(chart.to_json())["datasets"].values()
    assert {(one["metric"], one["way"]): one["value"] for one in drawn} == {
        (row["metric"], way): row[way] for _, row in table.iterrows() for way in ways
    }
    assert run_charts.ablation_bars(table[["metric", "both", "change"]], "what") is None


def labelled_order(run: Run, stage: str, query_id: str) -> list[str]:
    return resources.runs().load(run.run_id).rankings[stage][query_id].image_ids


def test_a_published_figure_stands_beside_the_run_with_its_protocol(mugs: EvalSet) -> None:
    measured = of_published_figures(902, 4000, "cirr-val-all", "vista", "hit_rate@5")
    store = resources.runs()
    store.start(measured)
    store.save(measured)
    page = open_page("runs", runs=measured.run_id)
    assert f"a: {beside(measured)[0].sentence}." in texts(page)
    assert "a: protocol cirr vista." in texts(page)


def test_overlap_shows_the_first_hits_that_differ_also_without_labels(
    mugs: EvalSet, tmp_path: Path
) -> None:
    first, second = (mugs.images[i].image_id for i in (0, 1))
    bare = replace(mugs, folder=tmp_path / "bare", name="bare", qrels={})
    bare.save()
    for labelled in (mugs, bare):
        ids = []
        for name, order in (("a", [first, second]), ("b", [second, first])):
            lines = [
                f"{query.query_id} Q0 {one} {rank} {9 - rank} {name}"
                for query in mugs.queries
                for rank, one in enumerate(order, start=1)
            ]
            (tmp_path / f"{name}.trec").write_text("\n".join(lines))
            path = tmp_path / f"{name}.trec"
            ids.append(import_run(path, labelled, store=resources.runs()).run_id)
        page = open_page("runs", show="overlap", runs=ids)
        assert "b against a, 6 queries" in texts(page)
        assert "Another first hit: 6 queries" in captions(page)
        shown = page.dataframe[len(page.dataframe) - 2].value
        assert shown["first of a"].iloc[0].startswith("data:image/")
        assert shown["first of a"].iloc[0] != shown["first of b"].iloc[0]
    assert "No query is judged" in captions(page)


def test_runs_of_one_name_can_be_one_entry(mugs: EvalSet, tiny: Encoder) -> None:
    with ImageIndex.open(collection="photos", encoder=tiny) as index:
        ids = [
            evaluate(
                mugs,
                Searcher(index, tiny),
                12,
                store=resources.runs(),
                name=name,
                resume=False,
            ).run_id
            for name in ("base", "tuned", "tuned")
        ]
    page = open_page("runs", runs=ids)
    assert len(page.dataframe[0].value) == 3
    page.toggle(key="together").set_value(True)
    page = run(page)
    table = page.dataframe[0].value
    assert len(table) == 2
    assert "tuned (2 runs)" in table.iloc[1].to_string()
    assert "Metrics are means over 2 runs" in texts(page)
