"""open_clip's models under all their names: open_clip's own vectors, offline, or an error."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from open_clip import factory
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from timm.models import eva, fastvit, register_model

from mmrag import config, load_encoder
from mmrag.cli import main
from mmrag.encoders import clip_sources, download_encoder
from mmrag.encoders.clip import CLIPModel
from mmrag.encoders.clip_preprocess import parse_preprocess
from mmrag.encoders.visualized_bge_files import make_tokenizer
from mmrag.errors import CheckpointError, MmragError

from .hub import Hub

TEXTS = ["a red mug with stripes", "the same in green"]
WORDS = make_tokenizer(TEXTS, 1000)
VIT = {"layers": 1, "width": 64, "head_width": 32, "mlp_ratio": 2}
CLIPS = {
    "ViT": "ViT-B-32/laion2b_s34b_b79k",
    "QuickGELU": "ViT-B-32/openai",
    "ResNet": "RN50/openai",
    "ConvNeXt": "convnext_base_w/laion2b_s13b_b82k",
    "CoCa": "coca_ViT-B-32/laion2b_s13b_b90k",
    "EVA02": "EVA02-B-16/merged2b_s8b_b131k",
    "SigLIP": "ViT-B-16-SigLIP/webli",
    "SigLIP2": "ViT-B-16-SigLIP2/webli",
    "CLIPA": "ViT-L-14-CLIPA/datacomp1b",
    "DFN": "ViT-H-14/dfn5b",
    "MobileCLIP2": "MobileCLIP2-S0/dfndr2b",
    "PE-Core": "PE-Core-T-16-384/meta",
    "MetaCLIP2": "ViT-H-14-worldwide-378/metaclip2_worldwide",
}
# Towers of the same kind that are smaller; others are made smaller by their numbers.
TOWERS = {
    "convnext_base": ("test_convnext", 160),
    "eva02_base_patch16_clip_224": ("tiny_eva02", 64),
    "fastvit_mci0": ("tiny_mci", 64),
    "vit_base_patch16_siglip_224": ("test_vit", 160),
    "vit_pe_core_tiny_patch16_384": ("tiny_pe_core", 64),
}


@register_model
def tiny_eva02(pretrained: bool = False, **changes: Any) -> torch.nn.Module:
    small = {"depth": 1, "embed_dim": 64, "num_heads": 2, "img_size": 64, **changes}
    made: torch.nn.Module = eva.eva02_base_patch16_clip_224(pretrained, **small)
    return made


@register_model
def tiny_pe_core(pretrained: bool = False, **changes: Any) -> torch.nn.Module:
    small = {"depth": 1, "img_size": 64, **changes}
    made: torch.nn.Module = eva.vit_pe_core_tiny_patch16_384(pretrained, **small)
    return made


@register_model
def tiny_mci(pretrained: bool = False, **changes: Any) -> torch.nn.Module:
    small = {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128), **changes}
    made: torch.nn.Module = fastvit.fastvit_mci0(pretrained, **small)
    return made


def shrink(arch: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Open_clip's configuration of that name, from now on, with fewer and narrower layers."""
    made: dict[str, Any] = open_clip.get_model_config(arch)
    vision, text = made["vision_cfg"], made["text_cfg"]
    if isinstance(vision.get("layers"), list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}
    elif "timm_model_name" not in vision:
        vision |= VIT
    elif vision["timm_model_name"] in TOWERS:
        vision["timm_model_name"], vision["image_size"] = TOWERS[vision["timm_model_name"]]
    text |= {"layers": 1, "width": 32, "heads": 2}
    if "multimodal_cfg" in made:
        made["multimodal_cfg"] |= {"layers": 1, "width": 32, "heads": 2}
    made["embed_dim"] = 64 if vision.get("timm_proj") == "none" else 32
    if "hf_tokenizer_name" in text:
        text["vocab_size"] = len(WORDS)
    monkeypatch.setitem(factory._MODEL_CONFIGS, arch, made)
    return made


def make_weights(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = open_clip.create_model(name, pretrained_text=False)
    return {key: value.contiguous() for key, value in made.state_dict().items()}


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((291, 183))


def vectors_of_open_clip(
    name: str, state: dict[str, torch.Tensor], **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Of `picture` and `TEXTS`, by open_clip's own preprocessing and tokenizer."""
    model = open_clip.create_model(name, load_weights=False, pretrained_text=False, **options)
    preprocess = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        image = model.encode_image(preprocess(picture())[None], normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True)
    return image.numpy(), text.numpy()


@pytest.mark.parametrize("family", CLIPS)
def test_every_family_equals_open_clip(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By tag, as `download` leaves the files, and by file; pictures, texts and both together."""
    arch, tag = CLIPS[family].split("/")
    made = shrink(arch, monkeypatch)
    known = open_clip.get_pretrained_cfg(arch, tag)
    state = make_weights(arch)
    repository = clip_sources.clip_folder(known["hf_hub"].rstrip("/"))
    repository.mkdir(parents=True)
    save_file(state, repository / "open_clip_model.safetensors")
    save_file(state, tmp_path / "mine.safetensors")
    tokenizer = made["text_cfg"].get("hf_tokenizer_name")
    if tokenizer:
        WORDS.save_pretrained(clip_sources.clip_folder(tokenizer))
    encoder = load_encoder(f"clip:{arch}/{tag}", precision="fp32", image_weight=0.3)
    by_file = load_encoder(
        f"clip:{arch}/{tag}",
        checkpoint=tmp_path / "mine.safetensors",
        precision="fp32",
        image_weight=0.3,
    )
    assert by_file.info.fingerprint == encoder.info.fingerprint
    assert by_file.info.settings == encoder.info.settings
    assert encoder.info.settings["resize_mode"] == known["resize_mode"]
    if tokenizer:
        local = {**made["text_cfg"], "hf_tokenizer_name": str(clip_sources.clip_folder(tokenizer))}
        monkeypatch.setitem(factory._MODEL_CONFIGS, arch, {**made, "text_cfg": local})
    image, texts = vectors_of_open_clip(
        arch,
        state,
        force_quick_gelu=bool(known.get("quick_gelu")),
        force_preprocess_cfg=known,
    )
    assert np.abs(encoder.encode([picture()]) - image).max() < 1e-5
    assert np.abs(encoder.encode(texts=TEXTS) - texts).max() < 1e-5
    summed = 0.3 * image + 0.7 * texts[:1]
    composed = encoder.encode([picture()], TEXTS[:1])
    assert np.abs(composed - summed / np.linalg.norm(summed)).max() < 1e-5


def test_a_checkpoint_of_several_configurations_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink("ViT-B-32", monkeypatch)
    state = make_weights("ViT-B-32")
    save_file(state, tmp_path / "mine.safetensors")
    options: dict[str, Any] = {"checkpoint": tmp_path / "mine.safetensors", "precision": "fp32"}
    with pytest.raises(MmragError, match=r"for 2 different configurations.*clip:ViT-B-32/openai"):
        load_encoder("clip:ViT-B-32", **options)
    how = "mean=0.5,std=imagenet,resize=longest,interpolation=bilinear,fill=9"
    encoder = load_encoder("clip:ViT-B/32", preprocess=how, **options)
    assert encoder.info.settings["resize_mode"] == "longest"
    assert encoder.info.settings["mean"] == [0.5] * 3
    cfg = parse_preprocess(how)
    image, _ = vectors_of_open_clip("ViT-B-32", state, force_preprocess_cfg=cfg)
    assert np.abs(encoder.encode([picture()]) - image).max() < 1e-5
    save_file({**state, "odd": torch.zeros(1)}, tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match=r"keys that the model does not have \(1\): odd"):
        load_encoder("clip:ViT-B-32/openai", **options)
    with pytest.raises(MmragError, match="'demo-clip' does not take --preprocess"):
        load_encoder("demo-clip", preprocess=how)


@pytest.mark.parametrize("own", [True, False])
def test_a_text_that_just_fits_is_not_warned_of(own: bool) -> None:
    """Two of a tokenizer's tokens stand for the beginning and the end."""
    words = SimpleNamespace(context_length=6, encode=str.split)
    if not own:
        inner = lambda text, add_special_tokens: {"input_ids": text.split()}  # noqa: E731
        words = SimpleNamespace(context_length=6, tokenizer=inner)
    model: Any = SimpleNamespace(tokenizer=words)
    assert not CLIPModel._is_too_long(model, "a red mug there")
    assert CLIPModel._is_too_long(model, "a red mug over there")


@pytest.mark.parametrize("wrong", ["mean=1/2", "std=0", "resize=cut", "fill=256", "x=1", "mean"])
def test_wrong_preprocessing_is_said(wrong: str) -> None:
    with pytest.raises(MmragError, match="--preprocess cannot be"):
        parse_preprocess(f"interpolation=bicubic,{wrong}")


def test_hub_and_folder_names_load_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `download` fetched of a hub, tokenizer from another repository included, is all."""
    made = shrink("ViT-B-16-SigLIP", monkeypatch)
    made["text_cfg"]["hf_tokenizer_name"] = "somebody/words"
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    state = make_weights("ViT-B-16-SigLIP")
    written = {"model_cfg": made, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(written))
    save_file(state, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    for file in tmp_path.iterdir():
        hub.files[f"Marqo/fashion/{file.name}"] = file.read_bytes()
    WORDS.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        hub.files[f"somebody/words/{name}"] = (tmp_path / name).read_bytes()
    download_encoder("clip:hf-hub:Marqo/fashion")
    hub.close()
    asked = len(hub.ranges)
    encoder = load_encoder("clip:hf-hub:Marqo/fashion", precision="fp32")
    assert len(hub.ranges) == asked
    assert encoder.info.licence == "cc-by-nc-4.0"
    image, texts = vectors_of_open_clip(f"local-dir:{tmp_path}", state)
    assert np.abs(encoder.encode([picture()]) - image).max() < 1e-5
    assert np.abs(encoder.encode(texts=TEXTS) - texts).max() < 1e-5
    in_folder = load_encoder(f"clip:local-dir:{tmp_path}", precision="fp32")
    assert in_folder.info.fingerprint == encoder.info.fingerprint
    listed = CliRunner().invoke(main, ["encoders", "--search", "MARQO", "--json"])
    (described,) = json.loads(listed.stdout)
    assert described["available"]
    assert described["non_commercial"]
    assert described["parameters"] > 0


def test_names_that_stand_for_nothing(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(MmragError, match=r"a/b is no model of open_clip's: it has no open_clip"):
        load_encoder("clip:hf-hub:a/b")
    with pytest.raises(MmragError, match="is no repository of a hub"):
        load_encoder("clip:hf-hub:../../etc")
    with pytest.raises(CheckpointError, match=r"no folder of open_clip's"):
        load_encoder(f"clip:local-dir:{tmp_path}")


def test_a_missing_tokenizer_is_said_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that an earlier version fetched came without it."""
    shrink("ViT-B-16-SigLIP", monkeypatch)
    folder = config.weights_dir() / "clip" / "timm" / "ViT-B-16-SigLIP"
    folder.mkdir(parents=True)
    save_file(make_weights("ViT-B-16-SigLIP"), folder / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match="has no tokenizer in"):
        load_encoder("clip:ViT-B-16-SigLIP/webli")
    WORDS.save_pretrained(folder)
    assert load_encoder("clip:ViT-B-16-SigLIP/webli").info.dim == 64


def test_the_list_says_licence_size_and_what_is_here() -> None:
    listed = CliRunner().invoke(main, ["encoders", "--search", "siglip2"])
    assert "clip:ViT-B-16-SigLIP2/webli: 768 dimensions" in listed.stdout
    assert "Apache-2.0, not here: mmrag download clip:ViT-B-16-SigLIP2/webli" in listed.stdout
    assert "openai" not in listed.stdout
    listed = CliRunner().invoke(main, ["encoders", "--search", "metaclip_400m"])
    assert "CC-BY-NC-4.0, not for commercial use" in listed.stdout
    listed = CliRunner().invoke(main, ["encoders", "--search", "nothing-like-it"])
    assert "No encoder's name contains" in listed.stderr
