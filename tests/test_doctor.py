"""What a report of `examine` means for a person."""

from __future__ import annotations

import pytest

from mmrag.doctor import Check, Device, Milvus, Report, examine, versions
from mmrag.encoders import list_encoders
from mmrag.rerank import list_rerankers
from mmrag.version import __version__

REPORT = Report(
    python="3.11",
    torch="2.9",
    devices=(Device("cpu", "bf16"),),
    encoders=tuple(list_encoders()),
    default_encoder="visualized-bge-base",
    milvus=Milvus(problem="No Milvus answers at http://x:1"),
    model_server="",
    model_server_problem="Set OPENAI_API_KEY.",
    home="/state",
    free_gb=3.4,
)


def by_name(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks()}


def test_what_is_wrong_comes_with_what_to_do() -> None:
    found = by_name(REPORT)
    assert found["Milvus"].state == "warning"
    assert "MMRAG_URI" in found["Milvus"].advice
    assert found["State folder"].state == "warning"
    assert found["visualized-bge-base"].state == "warning", "the default is not here"
    assert found["visualized-bge-base"].command == "mmrag download visualized-bge-base"
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

    assert versions()["mmrag"] == __version__
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "pymilvus" in versions()


def test_a_key_of_azure_alone_counts_everywhere_or_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    for endpoint, expected in (("", "absent"), ("https://me.openai.azure.com", "present")):
        if endpoint:
            monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
            monkeypatch.setenv("OPENAI_API_VERSION", "2025-01-01")
        assert examine().as_json()["openai_key"] == expected
        vision = next(one for one in list_rerankers() if one.name == "gpt-4o")
        assert vision.available == (expected == "present")


def test_json_keeps_its_keys() -> None:
    keys = {"python", "torch", "devices", "encoders", "default", "milvus", "openai_key", "home"}
    later = {
        "mmrag",
        "disk_free",
        "plugins",
        "damaged",
        "vision_model",
        "model_notices",
        "known_vectors",
        "gpu_paths",
    }
    assert keys | later == REPORT.as_json().keys()
    assert REPORT.as_json()["disk_free"] == "3 GB"


def test_the_path_of_a_gpu_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    report = examine()
    why = "no result of NVIDIA H200 is kept here; `python -m bench.gpu` writes one"
    assert report.as_json()["gpu_paths"] == [f"cuda:0: plain ({why})"]
    assert ("Path on cuda:0", "plain") in {(one.name, one.found) for one in report.checks()}
