"""Notes that a reader of a run's numbers needs."""

from __future__ import annotations

from mmrag.runs.run import Run
from mmrag.system.words import counted


def notes_on(run: Run, total: int) -> list[str]:
    """Sentences on a run that set out to answer `total` queries."""
    notes = []
    unfinished = total - run.finished_queries - len(run.skipped)
    if unfinished:
        notes.append(
            f"{unfinished} of {counted(total, 'query was', 'queries were')} not reached; all "
            f"metrics are over the {run.finished_queries} that were."
        )
    if run.skipped:
        notes.append(
            counted(
                len(run.skipped),
                "query was skipped: its picture is unreadable.",
                "queries were skipped: their pictures are unreadable.",
            )
        )
    if run.config.get("several_pictures"):
        notes.append(str(run.config["several_pictures"]))
    if run.missing_images:
        images = counted(len(run.missing_images), "gallery image is", "gallery images are")
        notes.append(f"{images} not in the index.")
    without = run.summary.without_relevant
    if without:
        notes.append(
            counted(
                without,
                "query has no relevant image and counts in no metric.",
                "queries have no relevant image and count in no metric.",
            )
        )
    if run.usage.cached:
        notes.append(
            f"{run.usage.cached} of {counted(run.usage.cached + run.usage.requests, 'answer')} "
            "came from the cache: cost and latency are what this run took, not what it takes anew."
        )
    if (run.config.get("reranker") or {}).get("batch"):
        notes.append("Asked through the Batch API: what a search would wait for is not measured.")
    if failed := run.rewrites.get("failed", 0):
        queries = (
            "1 query was asked as it stands"
            if failed == 1
            else (f"{failed} queries were asked as they stand")
        )
        notes.append(f"{queries}: rewriting gave no new words.")
    failed = run.reranks.get("failed", 0)
    if failed:
        queries = counted(failed, "query; it keeps", "queries; they keep")
        notes.append(f"Reranking failed for {queries} retrieval's order.")
    if run.usage.surprise:
        notes.append(
            f"There were {run.usage.surprise}: the model counts differently from the table of "
            "models, and estimates of its cost are off by as much."
        )
    return notes
