"""What a report of `examine` means for a person."""

from __future__ import annotations

import pytest

from mmrag.health import examine
from mmrag.health_checks import Check, checks, versions

REPORT = {
    "devices": ["cpu (bf16)"],
    "default": "visualized-bge-base",
    "milvus": "does not answer: No Milvus answers at http://x:1",
    "openai_key": "absent",
    "home": "/state",
    "disk_free": "3 GB",
}


def by_name(report: dict[str, object]) -> dict[str, Check]:
    return {check.name: check for check in checks(report)}


def test_what_is_wrong_comes_with_what_to_do() -> None:
    found = by_name(REPORT)
    assert found["Milvus"].state == "warning"
    assert "MMRAG_URI" in found["Milvus"].advice
    assert found["State folder"].state == "warning"
    assert found["visualized-bge-base"].state == "warning", "the default is not here"
    assert found["visualized-bge-base"].command == "python -m mmrag download visualized-bge-base"
    assert found["visualized-bge-m3"].state == "absent", "nobody needs it"
    assert found["OPENAI_API_KEY"].state == "absent"
    assert ".env" in found["OPENAI_API_KEY"].advice
    assert found["Computing"].state == "fine"


def test_this_machine_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-very-secret"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    found = by_name(examine())
    assert found["Milvus"].state == "fine"
    assert found["OPENAI_API_KEY"].state == "fine"
    assert secret not in repr(found)
    assert "cpu" in found["Computing"].found
    monkeypatch.setenv("MMRAG_URI", "http://127.0.0.1:9")
    assert by_name(examine())["Milvus"].state == "warning"


def test_versions_are_those_installed() -> None:
    import torch

    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "pymilvus" in versions()
