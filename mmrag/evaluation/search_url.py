"""Rankings from any search service at a URL, scored and kept like our own.

Each query is one POST of JSON, `{"images": [base64 of a file, ...], "text": "..." or null,
"k": 50}`; one with unwanted content also has `"without": {"images": [...], "text": ...,
"weight": 0.5}`. The answer is `{"ids": [...]}`, ids of the eval set's images, best first.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from mmrag.errors import ImageError, MmragError, one_line
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.templates import templated
from mmrag.evaluation.run_header import sample
from mmrag.images.decode import read_bytes
from mmrag.images.unreadable import query_problem
from mmrag.metrics.metrics import canonical, default_metrics, score_rankings
from mmrag.metrics.summary import summarise
from mmrag.runs.provenance import environment, eval_set_ref
from mmrag.runs.run import RETRIEVAL, Ranked, Run, percentiles
from mmrag.runs.store import RunStore, new_run_id, now
from mmrag.system.jobs import Progress
from mmrag.system.names import Names
from mmrag.types import Query

# After this many queries in a row without an answer, the service counts as gone.
_GIVE_UP = 5
_LARGEST_ANSWER = 16 << 20


class _Failed(Exception):
    """One query has no answer; the message says why."""


def search_url(
    url: str,
    eval_set: EvalSet,
    store: RunStore,
    k: int = 50,
    *,
    metrics: list[str] | None = None,
    name: str = "",
    seed: int = 0,
    limit: int | None = None,
    timeout: float = 60.0,
    concurrency: int = 4,
    query_template: str | None = None,
    on_progress: Callable[[Progress], Any] | None = None,
) -> Run:
    """Ask a search for every query, score what it answers, and store the run.

    A query without an answer counts as having found nothing; the run says how many there are.

    Args:
        url: http or https; the protocol is described at the top of this module.
        eval_set: queries and judgments; the service holds its gallery.
        store: where the run is kept.
        k: results per query.
        metrics: see `score_rankings`. Default: those that suit the set.
        name: of the run. Default: the address without its path.
        seed: of the sample and the intervals.
        limit: ask a random sample of this many queries.
        timeout: seconds that an answer may take.
        concurrency: queries in progress at once.
        query_template: replaces each query's text.
        on_progress: called with a `Progress`, in this thread.

    Raises:
        MmragError: no such address, an answer with ids that the set lacks, or several
            queries in a row without an answer.
    """
    shown, host = _shown(url)
    if any(query.pool for query in eval_set.queries):
        raise MmragError(
            f"Queries of {eval_set.name!r} have candidates of their own, which a search at an "
            "address is not told of; evaluate an encoder, or import its rankings."
        )
    queries = templated(sample(eval_set.queries, limit, seed), query_template)
    names = [canonical(one) for one in metrics or default_metrics(eval_set, k)]
    images = Names(image.image_id for image in eval_set.images)
    ids = {image.path: image.image_id for image in eval_set.images}
    ranked: dict[str, Ranked] = {}
    reasons: dict[str, str] = {}
    in_a_row = 0
    with httpx.Client(timeout=timeout, follow_redirects=False) as client:

        def ask(query: EvalQuery) -> tuple[list[str], float]:
            own = {ids[path] for path in query.images if path in ids}
            own = own if eval_set.exclude_query_image else set()
            started = time.perf_counter()
            found = _ask(client, url, query.query(), k + len(own))
            ms = 1000 * (time.perf_counter() - started)
            known = [_known(one, images, shown) for one in found]
            return [one for one in dict.fromkeys(known) if one not in own][:k], ms

        for query, future in _side_by_side(ask, queries, concurrency):
            try:
                order, ms = future.result()
            except _Failed as failed:
                reasons[query.query_id] = str(failed)
                ranked[query.query_id] = Ranked(query.query_id, [], [])
                in_a_row += 1
                if in_a_row == _GIVE_UP:
                    raise MmragError(
                        f"{_GIVE_UP} queries in a row had no answer from {shown}, the last one "
                        f"because: {failed}. Is the search running?"
                    ) from None
            else:
                in_a_row = 0
                scores = [float(len(order) - i) for i in range(len(order))]
                ranked[query.query_id] = Ranked(query.query_id, order, scores, {"search": ms})
            if on_progress is not None:
                on_progress(Progress(RETRIEVAL, len(ranked), len(queries)))
    orders = {query_id: one.image_ids for query_id, one in ranked.items()}
    found = score_rankings(orders, eval_set, names, query_ids=orders)
    run = Run(
        run_id=new_run_id(),
        name=name or host,
        eval_set=eval_set_ref(eval_set),
        state="complete",
        created=now(),
        finished=now(),
        config={
            "imported": shown,
            "k": k,
            "metrics": names,
            "seed": seed,
            "queries": len(queries),
            "failures": len(reasons),
            **({} if query_template is None else {"query_template": query_template}),
            **({"protocol": eval_set.protocol.as_json()} if eval_set.protocol else {}),
        },
        environment=environment(),
        summaries={RETRIEVAL: summarise(found, seed)},
        timings_ms=percentiles(ranked),
        finished_queries=len(ranked),
        notes=_notes(reasons, len(queries)),
        rankings={RETRIEVAL: ranked},
        scores={RETRIEVAL: found},
    )
    store.start(run)
    store.write(run.run_id, RETRIEVAL, list(ranked.values()))
    store.save(run)
    return run


def _side_by_side(
    ask: Callable[[EvalQuery], tuple[list[str], float]], queries: list[EvalQuery], most: int
) -> Iterator[tuple[EvalQuery, Future[tuple[list[str], float]]]]:
    """Outcomes in order, with at most `most` queries in progress."""
    waiting: deque[tuple[EvalQuery, Future[tuple[list[str], float]]]] = deque()
    with ThreadPoolExecutor(most) as pool:
        try:
            for query in queries:
                waiting.append((query, pool.submit(ask, query)))
                if len(waiting) >= most:
                    yield waiting.popleft()
            yield from waiting
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ask(client: httpx.Client, url: str, query: Query, k: int) -> list[str]:
    try:
        document = {**_document(query), "k": k}
        with client.stream("POST", url, json=document) as response:
            body = b""
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise _Failed("the answer is larger than 16 MB")
            status = response.status_code
    except ImageError as error:
        raise _Failed(query_problem(error)) from error
    except httpx.TimeoutException:
        raise _Failed("it took too long (--timeout)") from None
    except httpx.HTTPError as error:
        raise _Failed(one_line(error)) from None
    if status != 200:
        raise _Failed(f"status {status}")
    try:
        answer = httpx.Response(200, content=body).json()
    except ValueError:
        raise _Failed("the answer is no JSON") from None
    ids = answer.get("ids") if isinstance(answer, dict) else None
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise _Failed("the answer has no 'ids', a list of strings")
    return ids


def _document(query: Query) -> dict[str, Any]:
    pictures = [base64.b64encode(read_bytes(str(path))).decode() for path in query.images]
    asked: dict[str, Any] = {"images": pictures, "text": query.text}
    if query.unwanted is not None:
        asked["without"] = {**_document(query.unwanted), "weight": query.without_weight}
    return asked


def _known(written: str, images: Names, shown: str) -> str:
    found = images.find(written)
    if found is None:
        raise MmragError(
            f"{shown} answers {written[:200]!r}, which is not in the eval set; it must answer the "
            "ids of corpus.jsonl."
        )
    return found


def _shown(url: str) -> tuple[str, str]:
    """The address without a password, and its host and port."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known:
        raise MmragError(f"--search-url must be like http://127.0.0.1:8000/search, not {url!r}.")
    return urlunsplit((parts.scheme, host, parts.path, "", "")), host


def _notes(reasons: dict[str, str], queries: int) -> list[str]:
    if not reasons:
        return []
    first = next(iter(reasons.values()))
    return [
        f"{len(reasons)} of {queries} queries had no answer and count as having found nothing; "
        f"the first one because: {first}."
    ]
