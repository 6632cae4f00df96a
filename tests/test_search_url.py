"""Any search behind an address is scored; what it fails to answer is counted."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mmrag import MmragError, RunStore, evaluate, load_reranker
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.evaluation.from_run import rerank_run
from mmrag.evaluation.search_url import search_url
from mmrag.search.searcher import Searcher

from .evaluation_fixtures import colours, index, searcher  # noqa: F401

DOCUMENT = Path(__file__).parents[1] / "docs" / "evaluate.md"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    handler.log_message = lambda *_: None  # type: ignore[assignment]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://me:secret@127.0.0.1:{server.server_port}/search"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def documented(searcher: Searcher) -> type[BaseHTTPRequestHandler]:  # noqa: F811
    """The class of the server in the documents."""
    code = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[-1]
    assert len(code.splitlines()) <= 30
    lines = [line for line in code.splitlines() if not re.match("encoder|searcher|Threading", line)]
    names: dict[str, Any] = {"searcher": searcher}
    exec("\n".join(lines), names)
    found: type[BaseHTTPRequestHandler] = names["Search"]
    return found


def test_the_documented_server_ranks_as_we_do(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
) -> None:
    ours = evaluate(colours, searcher, 10)
    with RunStore() as store, serving(documented(searcher)) as url:
        run = search_url(url, colours, store, 10)
        assert run.ranking() == ours.ranking()
        assert run.metrics == pytest.approx(ours.metrics)
        assert run.timings_ms["search"]["mean"] > 0
        assert "secret" not in str(store.load(run.run_id))
        reranker = load_reranker("encoder:x", encoder=searcher.encoder)
        assert rerank_run(run, colours, reranker, store, rerank_k=5).state == "complete"


def test_a_sample_is_scored_over_those_asked(colours: EvalSet) -> None:  # noqa: F811
    ids = [image.image_id for image in colours.images]

    class Fixed(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"ids": ids[: asked["k"]]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with RunStore("sqlite://") as store, serving(Fixed) as url:
        run = search_url(url, colours, store, 10, limit=9, metrics=["hit_rate@10", "hit_rate@1"])
        kept = store.load(run.run_id)
    assert {tuple(one) for one in run.ranking().values()} == {tuple(ids[:10])}
    found = [float(bool(set(ids[:10]) & colours.relevant(one))) for one in run.ranking()]
    assert len(found) == 9
    assert 0 < sum(found) < 9
    assert run.metrics["hit_rate@10"] == pytest.approx(sum(found) / 9)
    for one in (run, kept):
        assert set(one.scores["retrieval"].query_ids) == set(run.ranking())
        assert one.scores["retrieval"].values["hit_rate@10"].sum() == sum(found)
    assert (kept.summary.queries, kept.summary.without_relevant) == (9, 0)


def test_failures_are_counted_and_many_end_it(
    colours: EvalSet,  # noqa: F811
    searcher: Searcher,  # noqa: F811
) -> None:
    asked: list[int] = []

    class Flaky(documented(searcher)):  # type: ignore[misc]
        def do_POST(self) -> None:
            asked.append(1)
            if len(asked) in (2, 4):
                self.send_error(500)
            else:
                super().do_POST()

    class Odd(BaseHTTPRequestHandler):
        body = b'{"ids": ["nobody"]}'

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.body)))
            self.end_headers()
            self.wfile.write(self.body)

    class Broken(Odd):
        body = b'["a"]'

    with RunStore() as store:
        with serving(Flaky) as url:
            run = search_url(url, colours, store, 10, concurrency=1)
        assert run.config["failures"] == 2
        assert f"2 of {len(colours.queries)} queries had no answer" in run.notes[0]
        assert "status 500" in run.notes[0]
        with serving(Odd) as url, pytest.raises(MmragError, match="'nobody', which is not in"):
            search_url(url, colours, store, 10)
        with serving(Broken) as url, pytest.raises(MmragError, match="5 queries in a row"):
            search_url(url, colours, store, 10)
        with pytest.raises(MmragError, match="must be like"):
            search_url("file:///etc/passwd", colours, store, 10)
