"""What libraries say in between does not reach a log: progress, pictures, the hub's client."""

from __future__ import annotations

import contextlib
import logging
import socket
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import http_backoff

from mmrag.cli import progress
from mmrag.cli.progress import Lines, progress_bar
from mmrag.errors import CheckpointError, ImageError
from mmrag.images.decode import load_image
from mmrag.system.hub import download_file
from mmrag.system.hub_client import asked_once

from .fuzz.pictures import encoded, noise


def test_a_log_gets_a_line_every_ten_per_cent(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar(total=1000, unit="img", desc="Indexing") as bar:
        for _ in range(1000):
            bar.update(1)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 11, "the first says what begins"
    assert all(line.startswith("Indexing:") for line in lines)
    assert "10%" in lines[1]
    assert "1000/1000" in lines[-1]


def test_a_log_gets_a_line_every_ten_seconds(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    with Lines(total=1_000_000, unit="B", unit_scale=True) as bar:
        for _ in range(35):
            now += 1
            bar.update(1000)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 4, "after 10, 20 and 30 seconds, and at the end"
    assert "35.0k/1.00M" in lines[-1]


def test_odd_pictures_are_read_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    fax = bytearray(encoded(noise("1", (200, 200)), "TIFF", compression="group4"))
    fax[200:240] = bytes(range(40))
    cut = encoded(noise(), "TIFF", compression="tiff_deflate")
    for data in (bytes(fax), cut[:300] + bytes(40) + cut[340:]):
        with contextlib.suppress(ImageError):
            load_image(data)
    assert capfd.readouterr().err == ""


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a hub that does not answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return url


def test_a_hub_that_is_gone_is_asked_once(
    nobody: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with asked_once():
        for _ in range(3):
            with pytest.raises((huggingface_hub.errors.OfflineModeIsEnabled, httpx2.NetworkError)):
                http_backoff("HEAD", f"{nobody}/a/b/resolve/main/config.json")
    assert len(waits) == 1
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "The model hub cannot be reached" in said[0]
    assert constants.HF_HUB_OFFLINE is False, "the next one is asked again"


def test_offline_is_said_at_once(
    nobody: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="the hub is not asked for it"):
        download_file("some/model", "weights.bin", tmp_path / "weights.bin")
