"""Changes that break a feature, and the quick test that notices each.

`python -m tests.mutants [WORD]` makes them, one after the other, in a copy of the package and runs
the test there, which has to fail; with a word those whose name holds it. `make mutants` also tries
changes that a machine thinks of.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What tests need beside the package; nothing in it is changed.
_LINKED = ("tests", "eval_sets", "bench", "docs", "README.md", "pyproject.toml", "dashboard.py")


@dataclass(frozen=True)
class Mutant:
    """In `file`, the text `old`, which stands there once, becomes `new`; `test` has to fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def source(self) -> str:
        """The changed text of its file.

        Raises:
            ValueError: `old` is not there, or not once: the code has moved on.
        """
        text = (ROOT / "mmrag" / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            times = text.count(self.old)
            raise ValueError(f"{self.name}: {self.old!r} is {times} times in {self.file}")
        return text.replace(self.old, self.new)


NAMED = (
    Mutant(
        "saving a query writes old judgments back",
        "labels/queries.py",
        "eval_set.with_queries(queries).save(judgments=False)",
        "eval_set.with_queries(queries).save()",
        "labels/test_queries.py::test_a_judgment_that_is_given_while_a_query_is_saved_stays",
    ),
    Mutant(
        "a model's second pass becomes a label",
        "labels/judgments.py",
        "for kind in reversed(LABELS):",
        "for kind in KINDS:",
        "labels/test_vision_judge.py::test_pictures_change_places_and_a_second_pass_is_no_label",
    ),
    Mutant(
        "metrics by a model's labels are not corrected",
        "labels/trust.py",
        'if (row.kind not in ("model", "repeat")) is by_people',
        'if row.kind != "repeat"',
        "labels/test_vision_judge.py::test_metrics_by_a_models_labels_say_so_and_are_corrected",
    ),
    Mutant(
        "pinned memory is written while it is copied",
        "encoders/streams.py",
        "            slot.copied.synchronize()\n            np.stack",
        "            np.stack",
        "test_streams.py::test_results_do_not_depend_on_timing",
    ),
    Mutant(
        "a batch is computed before it has arrived",
        "encoders/streams.py",
        '            gpu.wait("computing", slot.copied)\n',
        "",
        "test_streams.py::test_results_do_not_depend_on_timing",
    ),
    Mutant(
        "the answer cache forgets the server's address",
        "vision/model.py",
        "ResponseCache.key(self.endpoint.address, ",
        'ResponseCache.key("", ',
        "test_rerank_vision.py::test_a_warm_cache_sends_no_request",
    ),
    Mutant(
        "candidates' pictures are small",
        "rerank/ranking_prompt.py",
        "_SIDE = 512",
        "_SIDE = 64",
        "test_rerank_vision.py::test_candidates_are_sent_as_large_as_one_tile",
    ),
    Mutant(
        "the budget reserves nothing",
        "vision/budget.py",
        "self.reserved += most",
        "pass",
        "test_vision_model.py::test_a_budget_stops_before_it_is_exceeded",
    ),
    Mutant(
        "windows do not overlap",
        "rerank/vision.py",
        "options.window // 2",
        "options.window",
        "test_rerank_vision.py::test_windows_overlap_by_half_unless_told",
    ),
    Mutant(
        "a panorama has cells of 300 pixels, however large the model sees",
        "rerank/ranking_prompt.py",
        "else max(CELL, largest)",
        "else CELL",
        "test_vision_evaluation.py::test_a_panorama_is_as_large_as_is_seen",
    ),
    Mutant(
        "an answer that a batch cut off is not asked for once more",
        "vision/batch.py",
        "    if not wanted:\n        return answers",
        "    return answers",
        "test_vision_batch.py::test_an_answer_that_is_cut_is_asked_for_once_more",
    ),
    Mutant(
        "a failed answer says nothing of its cost",
        "vision/stream.py",
        "            self.usage += failure.usage\n",
        "            pass\n",
        "test_vision_evaluation.py::test_ask_says_what_a_failure_came_to",
    ),
    Mutant(
        "equal scores in reverse",
        "rerank/reorder.py",
        "(-scores[i], i)",
        "(-scores[i], -i)",
        "test_rerank_local.py::test_equal_scores_keep_the_order_of_retrieval",
    ),
    Mutant(
        "the spread over orders is 0",
        "evaluation/shuffled.py",
        '"spread": float(np.ptp(means))',
        '"spread": 0.0',
        "test_rerank_evaluation.py::test_what_the_order_of_the_candidates_changes",
    ),
    Mutant(
        "questions are about the ranking before reranking",
        "evaluation/evaluate.py",
        "answer_questions(setting, last, ",
        "answer_questions(setting, first, ",
        "test_question_answering.py::"
        "test_they_are_asked_side_by_side_about_the_first_after_reranking",
    ),
    Mutant(
        "another configuration is continued",
        "evaluation/run_header.py",
        "asdict(run.eval_set), run.config, run.environment]",
        "asdict(run.eval_set), run.environment]",
        "test_evaluate.py::test_only_the_same_evaluation_is_continued",
    ),
    Mutant(
        "a run of other software is continued",
        "evaluation/run_header.py",
        "asdict(run.eval_set), run.config, run.environment]",
        "asdict(run.eval_set), run.config]",
        "test_evaluate.py::test_only_the_same_evaluation_is_continued",
    ),
    Mutant(
        "the spread over wordings leaves out the original",
        "evaluation/ablations.py",
        "np.vstack([first, others])",
        "others",
        "test_evaluate.py::test_the_original_wording_counts_in_the_spread",
    ),
    Mutant(
        "unjudged images count as hard negatives",
        "metrics/table.py",
        "(scored.grades[:, :k] == 0)",
        "(scored.grades[:, :k] <= 0)",
        "test_metrics.py::test_by_hand",
    ),
    Mutant(
        "the seed of the randomisation test is ignored",
        "metrics/paired.py",
        'generator(seed, "randomisation")',
        'generator(0, "randomisation")',
        "test_statistics.py::test_the_seed_draws_resamples_and_permutations",
    ),
    Mutant(
        "Holm's correction for each pair by itself",
        "runs/compare.py",
        "corrected = iter(holm([d.p for pair in pairs for d in pair.metrics.values()]))",
        "corrected = (p for one in pairs for p in holm([d.p for d in one.metrics.values()]))",
        "test_runs.py::test_compare_by_hand",
    ),
    Mutant(
        "gains and losses are not sorted",
        "runs/compare.py",
        "changes.sort(key=lambda change: (-sign * change.delta, change.query_id))",
        "pass",
        "test_runs.py::test_the_largest_changes_come_first",
    ),
    Mutant(
        "p95 is p50",
        "runs/run.py",
        "np.percentile(values, 95)",
        "np.percentile(values, 50)",
        "test_runs.py::test_percentiles_of_the_timings",
    ),
    Mutant(
        "the curve loses hits after the first k",
        "runs/frames.py",
        "hits[row, place:] = 1",
        "hits[row, place] = 1",
        "test_frames.py::test_the_curve_rises_to_the_hit_rate_at_each_depth",
    ),
    Mutant(
        "export ignores the stage",
        "cli/runs.py",
        "files = export_run(run, format_, stage)",
        "files = export_run(run, format_, None)",
        "test_runs.py::test_a_stage_is_exported_by_name",
    ),
    Mutant(
        "a continued evaluation forgets what it spent",
        "evaluation/evaluate.py",
        "budget.carry_over(run.run_id, spent)",
        "budget.carry_over(run.run_id, 0.0)",
        "test_question_answering.py::test_a_budget_stops_them_and_a_higher_one_goes_on",
    ),
    Mutant(
        "the image weight is part of every gallery",
        "encoders/build.py",
        "combine(hashes, {**others, **any_way})",
        "combine(hashes, preprocessing)",
        "test_encoders.py::test_a_saved_clip_is_the_same_clip",
    ),
)


def survives(mutant: Mutant, copy: Path) -> bool:
    """Whether the test passes all the same; `copy` holds the package and links to the rest."""
    target = copy / "mmrag" / mutant.file
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.source(), encoding="utf-8")
    try:
        status = _run(mutant.test, copy)
    finally:
        target.write_text(original, encoding="utf-8")
    if status not in (0, 1):
        raise RuntimeError(f"{mutant.name}: {mutant.test} could not run (status {status})")
    return status == 0


def _run(test: str, copy: Path) -> int:
    """The status of pytest with a test in the copy, in a process forked from this one."""
    pid = os.fork()
    if pid == 0:
        status = 3
        try:
            os.chdir(copy)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            sys.path[:] = [str(copy), *(one for one in sys.path if Path(one).resolve() != ROOT)]
            status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", f"tests/{test}"]))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _load_libraries() -> None:
    """Import what the tests need, and forget our own part of it: only that is imported anew."""
    for file in dict.fromkeys(mutant.test.partition("::")[0] for mutant in NAMED):
        importlib.import_module("tests." + file.removesuffix(".py").replace("/", "."))
    for name in list(sys.modules):
        if name.partition(".")[0] in ("mmrag", "tests", "bench"):
            del sys.modules[name]


def main(word: str = "") -> int:
    """Try the mutants whose name holds `word`; the number that survived."""
    alive = 0
    _load_libraries()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "mmrag", copy / "mmrag")
        for name in _LINKED:
            (copy / name).symlink_to(ROOT / name)
        for mutant in NAMED:
            if word in mutant.name:
                passed = survives(mutant, copy)
                alive += passed
                print(f"{'SURVIVED' if passed else 'killed':9} {mutant.name}", flush=True)
    return alive


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:2])))
