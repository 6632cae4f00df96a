"""Training from pretrained weights: what is taken, frozen, slowed, and when it stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner

from mmrag import EvalSet, MmragError, load_encoder
from mmrag.cli.train import train as command
from mmrag.encoders.checkpoints import read_state_dict
from mmrag.encoders.conv_tower import ConvConfig, ConvTower, load_pretrained
from mmrag.errors import CheckpointError
from mmrag.training import features
from mmrag.training.pretrained import parameter_groups
from mmrag.training.train import TrainingSettings, train

QUICK = {"steps": 4, "batch_size": 8, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def lite0() -> dict[str, torch.Tensor]:
    """Weights of timm's EfficientNet-Lite0 with norms that do something."""
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    for key, value in state.items():
        if key.endswith(("running_var", "running_mean")) or (".bn" in key and key.endswith("bias")):
            value.add_(torch.rand_like(value) * 0.3)
    return state


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped configuration for pictures of 64 pixels."""
    from mmrag.training.models import CONFIGS

    config = json.loads((CONFIGS / "visualized-bge-photos.json").read_text())
    config["vision"]["img_size"] = 64
    config["text"] |= {"hidden_size": 32, "intermediate_size": 64}
    path = tmp_path_factory.mktemp("config") / "small.json"
    path.write_text(json.dumps(config))
    return str(path)


def test_the_tower_is_timms(lite0: dict[str, torch.Tensor]) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    theirs.load_state_dict({k: v for k, v in lite0.items() if "classifier" not in k})
    ours = ConvTower(ConvConfig(img_size=96))
    load_pretrained(ours, lite0, "a file")
    pictures = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        expected = theirs.eval()(pictures)
        torch.testing.assert_close(ours(pictures)[:, 0], expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            ours(ours.lower(pictures, 7), 7)[:, 0], expected, rtol=1e-3, atol=1e-4
        )
    lower = ConvTower(ConvConfig(img_size=96, stages=5))
    load_pretrained(lower, lite0, "a file")
    with torch.inference_mode():
        expected = ours.lower(pictures, 6).float().mean((2, 3))
        torch.testing.assert_close(lower(pictures)[:, 0], expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(CheckpointError, match="a file does not hold"):
        load_pretrained(ours, dict(list(lite0.items())[:50]), "a file")


def test_frozen_layers_stay_and_are_computed_once(
    colours: EvalSet,
    lite0: dict[str, torch.Tensor],
    small: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save(lite0, tmp_path / "lite0.pth")
    pretrained = ConvTower(ConvConfig())
    load_pretrained(pretrained, lite0, "")
    settings = TrainingSettings(
        **QUICK, init_from=str(tmp_path / "lite0.pth"), freeze=7, variants=2, layer_decay=0.5
    )
    train(colours, f"new:{small}", tmp_path / "one", settings)
    trained = load_encoder(str(tmp_path / "one"), precision="fp32").model
    for number, (before, after) in enumerate(
        zip(pretrained.layers(), trained.vision.layers(), strict=True)
    ):
        same = [
            torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)
        ]
        assert all(same) if number < 7 else not any(same)

    monkeypatch.setattr(features.FrozenFeatures, "_make", None)
    train(colours, f"new:{small}", tmp_path / "two", settings)
    written = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert written[0] == written[1]


def test_lower_layers_learn_slower(tiny_folder: Path) -> None:
    model = load_encoder(str(tiny_folder), precision="fp32").model
    model.requires_grad_(True)
    groups = parameter_groups(model, 0.1, 1e-3, 0.5)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    rates = [rate[id(next(layer.parameters()))] for layer in model.vision.layers()]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(5e-4)
    assert rate[id(model.visual_proj.weight)] == 1e-3


def test_a_new_model_takes_an_encoders_weights(colours: EvalSet, tmp_path: Path) -> None:
    first = train(colours, "new:visualized-bge-tiny", tmp_path / "one", TrainingSettings(**QUICK))
    settings = TrainingSettings(**QUICK, seed=9, init_from=str(tmp_path / "one"))
    again = train(colours, "new:visualized-bge-tiny", tmp_path / "two", settings)
    assert again.metrics_before == first.metrics_after
    other = TrainingSettings(**QUICK, init_from=str(tmp_path / "one"))
    with pytest.raises(CheckpointError, match="by name and shape"):
        train(colours, "new:clip-tiny", tmp_path / "three", other)


def test_mixed_precision_learns_nearly_the_same(colours: EvalSet, tmp_path: Path) -> None:
    exact, mixed = (
        train(
            colours,
            "new:visualized-bge-tiny",
            tmp_path / precision,
            TrainingSettings(**(QUICK | {"precision": precision})),
        ).losses
        for precision in ("fp32", "bf16")
    )
    assert mixed != exact
    assert mixed == pytest.approx(exact, rel=0.05)
    weights = read_state_dict(tmp_path / "bf16" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_a_table_says_what_was_tried(colours: EvalSet, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "training.json").write_text("[]")
    other = colours.with_queries(colours.queries[:40])
    train(other, "new:visualized-bge-tiny", tmp_path / "other", TrainingSettings(**QUICK))
    for name, rate in (("fast", "0.01"), ("slow", "1e-09")):
        options = ["--encoder", "new:visualized-bge-tiny", "--out", str(tmp_path / name)]
        options += ["--steps", "4", "--batch-size", "8", "--learning-rate", rate]
        done = CliRunner().invoke(command, [str(colours.folder), *options])
        assert done.exit_code == 0, done.output
    listed = done.output.partition("tried on these queries")[2].splitlines()[1:]
    assert sorted(line.split()[0] for line in listed) == ["fast", "slow"]
    assert [line.split("  ")[-1] for line in sorted(listed)] == [
        "learning_rate 0.01",
        "learning_rate 1e-09",
    ]


def test_it_stops_early_with_the_best_weights(colours: EvalSet, tmp_path: Path) -> None:
    settings = TrainingSettings(
        **(QUICK | {"steps": 60}), patience=2, check_every=2, learning_rate=1e-9
    )
    report = train(colours, "new:visualized-bge-tiny", tmp_path / "out", settings)
    assert report.steps == 6
    assert list(report.checks) == [2, 4, 6]
    best = max(report.checks.values())
    assert report.metrics_after["all"]["hit_rate@1"] == pytest.approx(best)
    assert not (tmp_path / "out" / "best.pt").exists()


def test_wrong_settings_are_named(colours: EvalSet, tmp_path: Path) -> None:
    with pytest.raises(MmragError, match="say how much with freeze"):
        TrainingSettings(variants=2)
    deep = TrainingSettings(**QUICK, freeze=99)
    with pytest.raises(MmragError, match="picture tower has 5 layers"):
        train(colours, "new:visualized-bge-tiny", tmp_path / "out", deep)
    eva = TrainingSettings(**QUICK, freeze=2, variants=2)
    with pytest.raises(MmragError, match="Variants are for"):
        train(colours, "new:visualized-bge-tiny", tmp_path / "other", eva)
