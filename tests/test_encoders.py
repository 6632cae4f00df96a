"""Encoders: equal to the references, honest about what is wrong with a checkpoint."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest

# The compiler wants it before anything else has imported Python's own distutils.
import setuptools  # noqa: F401
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from bench.models import open_bench_encoder
from mmrag import list_encoders, load_encoder
from mmrag.encoders import SHIPPED_DIR
from mmrag.encoders.attention import attend
from mmrag.encoders.device import multiplies_int8, resolve_device, resolve_precision
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.known import compare_known
from mmrag.encoders.licences import is_non_commercial, licence_of
from mmrag.encoders.packed import Int8Linear
from mmrag.errors import CheckpointError, ImageError, MmragError

from .conftest import make_checkpoint
from .helpers import PARITY, ROOT


@pytest.mark.parametrize("kind", ["base", "m3"])
def test_equal_to_the_reference(kind: str, tmp_path: Path) -> None:
    """Images, texts and pairs; alone, and padded in a batch; full size, float32."""
    checkpoint = make_checkpoint(kind, tmp_path)
    encoder = load_encoder(
        f"visualized-bge-{kind}",
        checkpoint=checkpoint,
        text_model=str(PARITY / f"text-model-{kind}"),
        device="cpu",
        precision="fp32",
    )
    checkpoint.unlink()
    inputs = json.loads((PARITY / f"{kind}_inputs.json").read_text())
    reference = np.load(PARITY / f"{kind}_embeddings.npy")
    images = [item["image"] and PARITY / "images" / item["image"] for item in inputs]
    texts = [item["text"] for item in inputs]
    batched = encoder.encode(images, texts)
    some = [0, 1, 2, 3, 16]
    alone = np.stack([encoder.encode([images[i]], [texts[i]])[0] for i in some])
    assert batched.dtype == np.float32
    assert np.linalg.norm(batched - reference, axis=1).max() < 1e-5
    assert np.linalg.norm(alone - reference[some], axis=1).max() < 1e-5
    assert encoder.info.dim == reference.shape[1]


@pytest.fixture(scope="module")
def base(base_checkpoint: Path) -> Encoder:
    return load_base(base_checkpoint, precision="fp32")


def load_base(checkpoint: Path, **options: Any) -> Encoder:
    options.setdefault("precision", "fp32")
    text_model = str(PARITY / "text-model-base")
    return load_encoder(
        "visualized-bge-base", checkpoint=checkpoint, text_model=text_model, **options
    )


@pytest.mark.parametrize("size", [(120, 600), (600, 120)])
def test_long_images_equal_the_reference(base: Encoder, size: tuple[int, int]) -> None:
    """The model's own preprocessing resizes the whole image before it cuts out the middle."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(values)
    reference = CenterCrop(224)(Resize(224, InterpolationMode.BICUBIC)(image))
    vectors = base.encode([image, reference])
    assert np.linalg.norm(vectors[0] - vectors[1]) < 1e-5


def test_bf16_is_close_to_fp32(base: Encoder, base_checkpoint: Path) -> None:
    half = load_base(base_checkpoint, precision="bf16")
    images = sorted((PARITY / "images").glob("*.png"))
    texts = ["make the background dark"] * len(images)
    for a, b in (((images, None)), ((images, texts)), ((None, texts))):
        cosines = (base.encode(a, b) * half.encode(a, b)).sum(1)
        assert cosines.min() > 0.999
    assert half.info.fingerprint == base.info.fingerprint
    assert half.info.precision == "bf16"


def test_int8_is_near_and_kept_apart(base: Encoder, base_checkpoint: Path) -> None:
    """Near to float32 on made-up weights; its vectors are not mixed with those of floats."""
    if not multiplies_int8(torch.device("cpu")):
        with pytest.raises(MmragError, match="VNNI"):
            load_base(base_checkpoint, precision="int8")
        return
    small = load_base(base_checkpoint, precision="int8")
    images = sorted((PARITY / "images").glob("*.png"))
    texts = ["make the background dark", *["a red mug"] * (len(images) - 1)]
    for a, b in (((images, None)), ((images, texts)), ((None, texts))):
        cosines = (base.encode(a, b) * small.encode(a, b)).sum(1)
        assert cosines.min() > 0.98
    assert small.info.precision == "int8"
    assert small.info.fingerprint != base.info.fingerprint


@pytest.mark.parametrize("tokens", [5, 300])
def test_attention_in_two_products_is_that_of_one_kernel(tokens: int) -> None:
    """Inputs of many tokens go one by one."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, tokens, 8)
    for queries in (query, query[:, :, :1]):
        fused = attend(queries, key, value)
        assert torch.allclose(attend(queries, key, value, fused=False), fused, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_specialised_is_the_same_model(tiny: Encoder, fused: bool) -> None:
    """Rotation in halves and attention in two products change nothing, with padding or without."""
    model = copy.deepcopy(tiny.model)
    model.specialise(fused)  # type: ignore[attr-defined]
    quick = Encoder(model, tiny.info)
    image = PARITY / "images" / "noise.png"
    images = [image, image, None, None, image]
    texts = [None, "a red mug with stripes", "a mug", "the same in green with stripes", "a"]
    assert np.allclose(quick.encode(images, texts), tiny.encode(images, texts), atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_specialised_clip_is_the_same_model(fused: bool) -> None:
    """Including the causal mask of its text tower."""
    clip = open_bench_encoder("clip:ViT-B-32", "cpu", "fp32")
    model = copy.deepcopy(clip.model)
    model.specialise(fused)  # type: ignore[attr-defined]
    attention = [m for m in model.modules() if isinstance(m, torch.nn.MultiheadAttention)]  # type: ignore[attr-defined]
    assert not attention
    quick = Encoder(model, clip.info)
    image = PARITY / "images" / "noise.png"
    images, texts = [image, None, None], ["the same in green", "a red mug with stripes", "a mug"]
    assert np.allclose(quick.encode(images, texts), clip.encode(images, texts), atol=1e-5)


@pytest.mark.parametrize("kind", ["visualized-bge", "clip"])
def test_compiled_is_the_same_model(
    kind: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whole batches of images; all else is not compiled. On the CPU, with unpacked layers."""
    monkeypatch.setattr("mmrag.encoders.build.can_pack", lambda: False)
    name = "clip:ViT-B-32"
    if kind == "clip":
        encoder = open_bench_encoder(name, "cpu", "bf16")
        encoder.model.clip.visual.transformer.resblocks = torch.nn.Sequential(  # type: ignore[attr-defined]
            encoder.model.clip.visual.transformer.resblocks[0]  # type: ignore[attr-defined]
        )
    else:
        encoder = load_encoder(str(tiny_folder), device="cpu", precision="bf16")
    image = PARITY / "images" / "noise.png"
    images = sorted((PARITY / "images").glob("*.png"))[:3]
    inputs: list[Any] = [(images, None), ([image], ["a red mug"]), (None, ["a red mug"])]
    before = [encoder.encode(a, b) for a, b in inputs]
    compiler = torch._dynamo.utils.counters
    compiler.clear()
    encoder.model.compile_images(3)  # type: ignore[attr-defined]
    after = [encoder.encode(a, b, batch_size=3) for a, b in reversed(inputs)][::-1]
    assert compiler["stats"]["unique_graphs"] == (1 if kind == "clip" else 2)
    assert not compiler["graph_break"]
    for a, b in zip(before, after, strict=True):
        assert (a * b).sum(1).min() > 0.999


def test_without_a_compiler_it_goes_on(
    tiny: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(forward: Any, dynamic: bool) -> Any:
        def fail(*inputs: Any) -> None:
            raise RuntimeError("no compiler here\nand more")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    encoder = Encoder(copy.deepcopy(tiny.model), tiny.info)
    encoder.model.compile_images(1)  # type: ignore[attr-defined]
    image = PARITY / "images" / "noise.png"
    for _ in range(2):
        assert np.allclose(encoder.encode([image]), tiny.encode([image]), atol=1e-5)
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert said[0].endswith(
        "could not be compiled (RuntimeError: no compiler here); going on without."
    )


def test_batches_suit_the_device(tiny: Encoder, base: Encoder) -> None:
    assert (tiny.batch_size, base.batch_size) == (64, 8)
    on_gpu = Encoder(base.model, replace(base.info, device="cuda:1"))
    assert on_gpu.batch_size == 256


def test_half_precision_files_are_read_as_float32(base_checkpoint: Path, tmp_path: Path) -> None:
    """The official files hold float16."""
    state = torch.load(base_checkpoint, weights_only=True)
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pth")
    encoder = load_base(tmp_path / "half.pth")
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}


def test_long_texts_are_cut_with_one_warning(
    base: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    image = PARITY / "images" / "disc.png"
    long = "dark " * 400
    with caplog.at_level(logging.WARNING, "mmrag"):
        cut = base.encode([image, image], [long, long + "dark dark"])
        base.encode(texts=["dark " * 600])
    assert np.allclose(cut[0], cut[1], atol=1e-6)
    assert [r.getMessage() for r in caplog.records] == [
        "A text has 404 tokens; only the first 316 are used (said once)."
    ]


def test_encode_says_what_is_wrong_with_its_input(tiny: Encoder, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    with pytest.raises(ImageError, match=r"bad\.jpg: not an image"):
        tiny.encode([tmp_path / "bad.jpg"])
    with pytest.raises(MmragError, match="2 images but 1 texts"):
        tiny.encode(["a", "b"], ["c"])
    with pytest.raises(MmragError, match="neither"):
        tiny.encode([None], [None])
    with pytest.raises(MmragError, match="takes lists"):
        tiny.encode(texts="a red mug")  # type: ignore[arg-type]
    assert tiny.encode().shape == (0, tiny.info.dim)


def test_order_kinds_and_sources(tiny: Encoder) -> None:
    """A mixed list equals its parts, whatever the batches; paths, bytes and pictures agree."""
    path = PARITY / "images" / "noise.png"
    image = Image.open(path)
    images = [path, None, path.read_bytes(), image, None, str(path)]
    texts = [None, "a red mug", "the same in green", None, "stripes", "a red mug"]
    together = tiny.encode(images, texts, batch_size=2)
    for i in range(6):
        alone = tiny.encode([images[i]], [texts[i]])[0]
        assert np.allclose(together[i], alone, atol=1e-5)
    assert np.allclose(together[0], together[3], atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_incomplete_and_wrong_checkpoints(base_checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(base_checkpoint, weights_only=True)
    part = {k: v for k, v in state.items() if ".layer.3." not in k}
    torch.save(part, tmp_path / "part.pth")
    with pytest.raises(
        CheckpointError, match=r"16 of \d+ keys are missing: bge_encoder\.layer\.3\."
    ):
        load_base(tmp_path / "part.pth")
    torch.save({**state, "visual_proj.bias": torch.zeros(3)}, tmp_path / "shape.pth")
    with pytest.raises(CheckpointError, match=r"visual_proj\.bias is \(3,\) instead of \(768,\)"):
        load_base(tmp_path / "shape.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not a state dict"):
        load_base(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes(base_checkpoint.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="damaged"):
        load_base(tmp_path / "cut.pth")
    gone = "model_visual.visual.blocks.2.mlp.w1.weight"
    torch.save({k: v for k, v in state.items() if k != gone}, tmp_path / "vision.pth")
    with pytest.raises(CheckpointError, match=f"are missing: {gone}\\."):
        load_base(tmp_path / "vision.pth")
    (tmp_path / "junk.pth").write_bytes(b"\x80\x02just junk" * 9)
    (tmp_path / "text.pth").write_text("jmmmm, just a text")
    for junk in ("junk", "text"):
        with pytest.raises(CheckpointError) as caught:
            load_base(tmp_path / f"{junk}.pth")
        assert not re.search(r": \d+$", str(caught.value)), "no bare number"
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        load_base(tmp_path / "absent.pth")


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/tmp/mmrag-was-here").touch, ())


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": _Evil()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Evil()))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(CheckpointError, match="pickled code"):
            load_base(tmp_path / name)
    assert not Path("/tmp/mmrag-was-here").exists()


def test_a_saved_clip_is_the_same_clip(tmp_path: Path) -> None:
    """Activation, preprocessing and image weight survive saving and loading."""
    from mmrag.encoders import clip

    torch.manual_seed(0)
    arch = "ViT-S-32-alt"
    preprocess = {"mean": [0.5] * 3, "std": [0.4] * 3, "interpolation": "bilinear"}
    made = open_clip.create_model(arch, force_quick_gelu=True, force_preprocess_cfg=preprocess)
    config = {**open_clip.get_model_config(arch), "quick_gelu": True}
    model = clip.CLIPModel(made, open_clip.get_tokenizer(arch), 0.3, config)
    clip.save_folder(model, tmp_path, {"licence": "x", "source": "y"})
    loaded = load_encoder(str(tmp_path), device="cpu", precision="fp32")
    image = PARITY / "images" / "noise.png"
    expected = Encoder(model.eval(), loaded.info).encode([image, None], ["a red mug", "a mug"])
    assert np.allclose(loaded.encode([image, None], ["a red mug", "a mug"]), expected, atol=1e-6)
    assert loaded.model.image_weight == 0.3  # type: ignore[attr-defined]
    other = load_encoder(str(tmp_path), precision="fp32", image_weight=0.9)
    assert other.info.fingerprint == loaded.info.fingerprint, "pictures alone are the same"
    former = other.info.fingerprint_of("both")
    assert former != loaded.info.fingerprint_of("both")
    assert other.info.can_search(former, "image"), "as earlier versions noted it"
    assert not loaded.info.can_search(former, "image")
    assert not other.info.can_search(loaded.info.fingerprint_of("both"), "both")


def test_clip_from_a_configuration_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    (tmp_path / "my-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "my-clip.json")
    torch.save(open_clip.create_model("my-clip").state_dict(), tmp_path / "weights.pt")
    caplog.clear()
    encoder = load_encoder(f"clip:{tmp_path / 'my-clip.json'}", checkpoint=tmp_path / "weights.pt")
    assert encoder.encode(texts=["mug"]).shape == (1, 32)
    with caplog.at_level(logging.WARNING, "mmrag"):
        encoder.encode(texts=["a red mug " * 30])
        encoder.encode(texts=["a red mug " * 30])
    assert [r.getMessage() for r in caplog.records] == [
        "A text is longer than CLIP's 16 tokens and is cut off (said once)."
    ]
    with pytest.raises(CheckpointError, match="keys are missing"):
        load_encoder("clip:ViT-B-32/openai", checkpoint=tmp_path / "weights.pt")


def test_configurations_cannot_run_code(tiny_folder: Path, tmp_path: Path) -> None:
    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
    }
    (tmp_path / "evil-clip.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="trust_remote_code"):
        load_encoder(f"clip:{tmp_path / 'evil-clip.json'}", checkpoint=tmp_path / "evil-clip.json")
    card = {"format": "mmrag-encoder", "class": "clip", "image_weight": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(card))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(CheckpointError, match="trust_remote_code"):
        load_encoder(str(tmp_path))


def test_auto_precision_follows_the_hardware() -> None:
    cpu = torch.device("cpu")
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    has_bf16 = any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    assert resolve_precision("auto", cpu) == ("bf16" if has_bf16 else "fp32")
    assert resolve_precision("fp16", cpu) == "fp16"
    with pytest.raises(MmragError, match="Unknown precision"):
        resolve_precision("fp7", cpu)
    with pytest.raises(MmragError, match="fp8 is for NVIDIA GPUs from Ada and Hopper on"):
        resolve_precision("fp8", cpu)
    for device in ("cuda:99", "auto:1", "cpu:x"):
        with pytest.raises(MmragError, match="device"):
            resolve_device(device)


def test_int8_is_refused_where_it_would_take_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    assert resolve_precision("int8", cpu) == "int8"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(MmragError, match="int8 is for x86 CPUs with VNNI or AMX"):
        resolve_precision("int8", cpu)


def test_int8_layers_are_near_and_leave_nothing_in_a_file() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 32)
    x = torch.randn(5, 64)
    with torch.inference_mode():
        packed = Int8Linear(layer)
        assert (packed(x) - layer(x)).abs().max() < 0.02
    assert list(packed.state_dict()) == []


def test_memory_that_is_too_small_for_one_input_is_said(
    tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def embed(pixels: None, texts: list[str]) -> torch.Tensor:
        asked.append(len(texts))
        if len(texts) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return torch.ones(len(texts), tiny.info.dim)

    encoder = Encoder(tiny.model, tiny.info)
    monkeypatch.setattr(tiny.model, "embed", embed)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    most = 2
    assert encoder.encode(texts=list("abcde"), batch_size=5).shape == (5, tiny.info.dim)
    assert asked == [5, 2, 2, 1]
    most = 0
    with pytest.raises(MmragError, match="The memory of cpu is too small for a single input"):
        encoder.encode(texts=["a"])


def test_the_known_vector_is_of_a_picture_and_a_text(tiny: Encoder) -> None:
    """So that a library that decodes pictures in another way is noticed."""
    assert compare_known(tiny) == pytest.approx(1)

    class Otherwise(Encoder):
        def encode(self, images: Any = None, texts: Any = None, *args: Any, **more: Any) -> Any:
            sign = 1 if images is None else -1
            return sign * super().encode(images, texts, *args, **more)

    with pytest.raises(CheckpointError, match="no longer computes what it did"):
        compare_known(Otherwise(tiny.model, tiny.info))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("license: apache-2.0\n", "apache-2.0"),
        ("license: other\nlicense_name: apple-amlr\n", "apple-amlr"),
        ("tags: x\n", "MIT"),
    ],
)
def test_the_licence_that_a_card_states(card: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{card}---\n# A model\n")
    assert licence_of("baai/x", tmp_path) == licence
    assert is_non_commercial(licence) == ("amlr" in licence)


def test_the_shipped_encoders_words_need_no_transformers(tmp_path: Path) -> None:
    """Which takes a second to import; the tokens are the same, and so is what is saved."""
    from transformers import AutoTokenizer

    from mmrag.encoders.fast_tokenizer import FastTokenizer

    folder = SHIPPED_DIR / "demo"
    ours, theirs = FastTokenizer(folder), AutoTokenizer.from_pretrained(folder)
    texts = ["", "A red MUG, with stripes!", "née à çé ☃ [MASK] [PAD] x", "a " * 700, "\n\t"]
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]
    assert ours.get_vocab() == theirs.get_vocab()
    assert (ours.pad_token_id, len(ours)) == (theirs.pad_token_id, len(theirs))
    ours.save_pretrained(str(tmp_path))
    assert AutoTokenizer.from_pretrained(tmp_path)(texts)["input_ids"] == ours(texts)["input_ids"]
    code = (
        "import sys; from mmrag import load_encoder; "
        "load_encoder('demo', device='cpu').encode(texts=['a red mug']); "
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert not FastTokenizer.can_read(tmp_path)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(
        MmragError,
        match="Unknown encoder 'visualized-bge'; use visualized-bge-base, visualized-bge-m3",
    ):
        load_encoder("visualized-bge")
    with pytest.raises(CheckpointError, match="mmrag download visualized-bge-m3"):
        load_encoder("visualized-bge-m3")
    with pytest.raises(MmragError, match="knows no architecture"):
        load_encoder("clip:ViT-Z-1")
    with pytest.raises(MmragError, match="name them as clip:ViT-B-32/PRETRAINED"):
        load_encoder("clip:ViT-B-32")
    with pytest.raises(MmragError, match="Unknown device"):
        load_encoder("visualized-bge-base", checkpoint=PARITY / "README.md", device="tpu")
    names = {encoder.name: encoder for encoder in list_encoders()}
    assert names["visualized-bge-base"].dim == 768
    assert not names["visualized-bge-base"].available


def test_fingerprint_tells_weights_apart(tiny: Encoder, tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    again = load_encoder(str(tiny_folder), precision="bf16")
    assert again.info.fingerprint == tiny.info.fingerprint
    for file in tiny_folder.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    state["visual_proj.bias"][0] += 1e-3
    save_file(state, tmp_path / "model.safetensors")
    assert load_encoder(str(tmp_path)).info.fingerprint != tiny.info.fingerprint
