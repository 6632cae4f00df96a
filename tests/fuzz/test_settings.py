# ruff: noqa: PT017, E501
"""Settings: .env files, environment variables, price tables, addresses of servers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.awaiting import awaited
from mmrag import config
from mmrag.errors import MmragError
from mmrag.eval_sets.known_sets import known_eval_sets
from mmrag.index.store import MilvusStore
from mmrag.measurements import read_results
from mmrag.runs.store import RunStore
from mmrag.types import Query
from mmrag.ui.reproduce import Recipe, command_line, python_code
from mmrag.vision.budget import Budget
from mmrag.vision.endpoint import find_endpoint
from mmrag.vision.models import TABLE, find_price
from mmrag.vision.prompt import Prompt

from .cases import ODD_TEXTS, case, fuzz, spoil_bytes, spoil_value

# What an environment variable can hold.
VARIABLES = (
    st.text(max_size=30)
    | st.sampled_from(["0", "-1", "1e400", "nan", "inf", "9" * 5000, "٣", " 5 ", "0x10", "1_0", "\x1b"])
).map(lambda text: os.fsdecode(text.encode("utf-8", "replace").replace(b"\0", b"")))  # fmt: skip
HOSTS = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "[::1", "exa mple", "a" * 300, "müller.test", "x..y", "", "*",
     "user:pass@localhost", "user:p%40ss@localhost", "@", "localhost:99999", "localhost:x", "0x7f.1",
     "localhost#f", "localhost?k=v", "localhost\\@evil.test", "xn--", "-", "１２７.0.0.1"]
)  # fmt: skip
SCHEMES = st.sampled_from(
    ["http://", "https://", "", "ftp://", "file:///", "javascript:", "http:", "//", "HTTP://", "://",
     "postgresql://", "sqlite://", "sqlite:///", "postgresql+psycopg://", "mysql://", "milvus://"]
)  # fmt: skip
PATHS = st.sampled_from(
    ["", "/", "/v1", "/v1/", "/../..", "?a=b", "#x", "/%00", "/\n", "/v1\r\nX-Injected: 1", "/ü", ":1/db",
     "/db?connect_timeout=x", "/db?timeout=x", "?mode=ro&uri=true", "/nonexistent/x.db"]
) | st.text(max_size=20)  # fmt: skip
URLS = st.builds(lambda *parts: "".join(parts), SCHEMES, HOSTS, PATHS)
ENV = (
    b"# settings\nMMRAG_URI=http://localhost:19530\nexport MMRAG_TOKEN='a b'\n"
    b'MMRAG_ENCODER="demo"\nMMRAG_HOME=${HOME}/x\n'
)


def variable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@fuzz(500)
@given(st.data())
def test_env_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "env"
    folder.mkdir(exist_ok=True)
    load_env(folder, spoil_bytes(data.draw, ENV))


def load_env(folder: Path, content: bytes) -> None:
    (folder / ".env").write_bytes(content)
    before, there = dict(os.environ), Path.cwd()
    os.chdir(folder)
    try:
        with case(__file__):
            config.load_dotenv()
            assert {k: os.environ.get(k) for k in before} == before, "what is set wins"
    finally:
        os.chdir(there)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("MMRAG_MAX_PIXELS", config.max_pixels),
        ("MMRAG_DECODE_WORKERS", config.decode_workers),
        ("MMRAG_STORE_LINGER", config.store_linger),
        ("MMRAG_DECODE_PROCESSES", config.decode_processes),
        ("MMRAG_COMPILE", config.compile_models),
        ("MMRAG_GPU_PATH", config.gpu_path),
        ("MMRAG_HOME", config.home),
        ("MMRAG_EVAL_SETS", known_eval_sets),
        ("MMRAG_PRICES", lambda: find_price("gpt-4o")),
    ],
)
def test_environment_variables(name: str, read: Any) -> None:
    @fuzz(80)
    @given(VARIABLES)
    def run(value: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            with case(__file__):
                found = read()
                assert not isinstance(found, int | float) or 0 <= found < float("inf")

    run()


def use_prices() -> None:
    with case(__file__):
        price = find_price("gpt-4o")
        if price is not None:
            most = price.cost(Prompt("rules", ("text",), 10).most_tokens(price.image), 10)
            assert 0 <= most < float("inf")
            assert price.image_tokens(512, 512) >= 0
            Budget(1.0).reserve(most)


def test_price_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TABLE.read_bytes()
    path = tmp_path / "prices.json"
    monkeypatch.setenv("MMRAG_PRICES", str(path))

    @fuzz(400)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            table = json.loads(whole)
            record = data.draw(st.sampled_from(sorted(table["models"])))
            table["models"][record] = spoil_value(data.draw, table["models"][record])
            content = json.dumps(table)
            if data.draw(st.booleans()):
                number = data.draw(st.sampled_from(["1e999", "-1", "NaN", "1" + "0" * 400, "[]"]))
                content = content.replace("2.5", number, 1).replace("85", number, 1)
            path.write_text(content)
        else:
            path.write_bytes(spoil_bytes(data.draw, whole))
        use_prices()

    run()
    path.write_text('{"models":' * 100_000)
    with case(__file__, refused="price table"):
        find_price("gpt-4o")


@fuzz(250)
@given(URLS, VARIABLES, st.booleans())
def test_addresses_of_model_servers(url: str, key: str, azure: bool) -> None:
    """Whatever stands there, a client is made or a sentence said, and no password shown."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
            patch.delenv(name, raising=False)
        patch.setenv("AZURE_OPENAI_ENDPOINT" if azure else "OPENAI_BASE_URL", variable(url))
        patch.setenv("AZURE_OPENAI_API_KEY" if azure else "OPENAI_API_KEY", key)
        patch.setenv("OPENAI_API_VERSION", "2024-10-21")
        with case(__file__):
            endpoint = find_endpoint()
            assert endpoint.address.startswith(("http://", "https://"))
            assert "pass" not in endpoint.address
            assert endpoint.address.isprintable()
            endpoint.client(1.0, 0).close()
            awaited(endpoint.async_client(1.0, 0).close())
            text = f"said {endpoint.key} there"
            assert len(endpoint.key) < 8 or endpoint.key not in endpoint.redact(text)


@fuzz(60)
@given(URLS)
def test_proxies(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "a-key-for-tests")
        patch.setenv("MMRAG_PROXY", variable(url))
        with case(__file__):
            find_endpoint().client(1.0, 0).close()


def test_addresses_of_run_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, where SQLite makes what it is told to; no other host is asked."""
    monkeypatch.chdir(tmp_path)

    @fuzz(200)
    @given(URLS)
    def run(url: str) -> None:
        url = variable(url)
        if url.startswith("postgresql") or "://" not in url:
            url = "sqlite://" + url.partition("://")[2]
        url = url.replace("..", "").replace("sqlite:////", "sqlite:///")
        with case(__file__):
            RunStore(url).close()

    run()


@fuzz(60)
@given(
    st.sampled_from(["", "?sslmode=x", "?a=b", "?port=x", "?host=/", "?connect_timeout=x"]), PATHS
)
def test_addresses_of_postgresql(query: str, name: str) -> None:
    name = variable(name).strip("/?#@")
    with case(__file__):
        try:
            RunStore(f"postgresql+psycopg://u:s3cret-pw@127.0.0.1:1/{name}{query}").close()
        except MmragError as error:
            assert "s3cret-pw" not in str(error)
            raise


@fuzz(200)
@given(URLS.map(variable).filter(lambda url: "://" in url))
def test_addresses_of_milvus(url: str) -> None:
    with case(__file__):
        store = MilvusStore(url)
        assert "pass@" not in store.uri.partition("://")[2].partition("/")[0]
        store.close()


@fuzz(150)
@given(st.data())
def test_results_of_the_bench_suite(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    stats = {"median": 0.1, "q1": 0.1, "q3": 0.2, "stddev": 0.0, "rounds": 3}
    whole = {
        "machine_info": {"cpu": {"brand_raw": "x", "count": 2}, "quick": False},
        "commit_info": {"id": "abc", "dirty": False},
        "datetime": "2025-01-01T00:00:00",
        "benchmarks": [
            {"group": "g", "name": "n", "stats": stats, "extra_info": {"items": 3, "unit": "img/s"}}
        ],
    }
    path = tmp_path_factory.getbasetemp() / "result.json"
    path.write_text(json.dumps(spoil_value(data.draw, whole)))
    with case(__file__):
        read_results(path)


@fuzz(100)
@given(ODD_TEXTS, ODD_TEXTS, ODD_TEXTS)
def test_recipes_are_one_command_and_one_program(text: str, path: str, name: str) -> None:
    """What the dashboard offers to copy runs nothing else, whatever the query says."""
    import ast
    import shlex

    with case(__file__):
        recipe = Recipe(Query(path or "x.png", text), name, name, 9, "gpt-4o", "images", 20)
        words = shlex.split(command_line(recipe))
        assert words[:4] == ["python", "-m", "mmrag", "search"]
        assert words[words.index("--image") + 1] == (path or "x.png")
        program = python_code(recipe).encode("utf-8", "backslashreplace")
        called = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(program))
            if isinstance(node, ast.Call)
        }
        assert called <= {
            "load_encoder", "ImageIndex.open", "Searcher", "load_reranker", "searcher.search", "Query",
            "print", "round",
        }  # fmt: skip
