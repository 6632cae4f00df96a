"""The Health page's logic, without a browser."""

from __future__ import annotations

import os

import pytest

from tests.helpers import models
from tests.vision_server import VisionServer

from .pages import captions, open_page, texts


def test_health_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    page = open_page("health")
    assert "Everything that is needed works" in page.success[0].value
    assert "milvus_lite" in texts(page)
    assert "tiny" in texts(page)
    assert "mmrag download visualized-bge-base" in [c.value for c in page.code]
    shown = "".join(str(getattr(element, "proto", "")) for element in page.main)
    assert "sk-very-secret" not in shown
    assert os.environ["OPENAI_API_KEY"] not in texts(page)


def test_health_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MMRAG_URI", "http://127.0.0.1:9")
    page = open_page("health")
    assert "1 of " in page.warning[0].value
    assert "does not answer" in texts(page)
    advice = "\n".join(caption.value for caption in page.caption)
    assert "MMRAG_URI" in advice
    assert "OPENAI_API_KEY into the environment" in advice


def test_health_says_which_model_leaves(server: VisionServer) -> None:
    models(server, "gpt-4o", gpt_4o=47)
    page = open_page("health")
    shown = texts(page) + captions(page)
    assert "gpt-4o leaves" in shown
    assert "in 47 days; its successor is gpt-6-luna (openai:gpt-6-luna)." in shown
    assert server.listed == 1
    assert server.requests == 0
