"""Baselines of encode rows: the tutorials' loop, and the hardware's limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmrag.encoders.device import QUANTISED
from mmrag.encoders.encoder import Encoder
from mmrag.encoders.packed import Int8Linear, PackedLinear, can_pack, quantise
from mmrag.encoders.packed_gpu import LAYERS
from mmrag.encoders.sentence import SentenceModel

_SIDE = {"cpu": 4096, "cuda": 16_384, "mps": 8192}


def tutorial_loop(encoder: Encoder) -> Callable[[Sequence[Path]], torch.Tensor]:
    """Embeds pictures as the tutorials do: open, preprocess, forward, one at a time, float32.

    The forward pass is the libraries' own (timm and transformers, or open_clip), preprocessing
    torchvision's, as in the reference implementation of Visualized BGE. A model of
    sentence-transformers is called as in that library.

    Args:
        encoder: loaded in fp32.

    Returns:
        Paths to (n, dim) float32.
    """
    model: Any = encoder.model
    if isinstance(model, SentenceModel):
        return _sentence_loop(model)
    if model.folder_class == "clip":
        forward, size = model.clip.encode_image, (model._height, model._width)
    else:
        size = (model.image_size, model.image_size)

        forward = _reference_forward(model)

    from PIL import Image
    from torchvision import transforms

    preprocess = transforms.Compose(
        [
            transforms.Resize(size[0], interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(model._mean.flatten().tolist(), model._std.flatten().tolist()),
        ]
    )

    def loop(paths: Sequence[Path]) -> torch.Tensor:
        vectors = []
        with torch.no_grad():
            for path in paths:
                image = preprocess(Image.open(path).convert("RGB"))
                vector = forward(image[None].to(encoder.info.device))
                vectors.append(nn.functional.normalize(vector, dim=-1).cpu())
        return torch.cat(vectors)

    return loop


def _sentence_loop(model: SentenceModel) -> Callable[[Sequence[Path]], torch.Tensor]:
    from PIL import Image

    def loop(paths: Sequence[Path]) -> torch.Tensor:
        vectors = []
        for path in paths:
            asked: Any = [{"image": Image.open(path).convert("RGB")}]
            vector = model.model.encode_document(
                asked, batch_size=1, normalize_embeddings=True, show_progress_bar=False
            )
            vectors.append(torch.from_numpy(vector))
        return torch.cat(vectors)

    return loop


def _reference_forward(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Make Visualized BGE's forward pass from the libraries' modules, all tokens in all layers."""
    import timm
    import transformers

    vision = dict(model.architecture["vision"])
    eva: Any = timm.create_model(vision.pop("timm"), num_classes=0, **vision)
    eva.load_state_dict(model.vision.state_dict(), strict=False)
    eva.norm = nn.Identity()
    text = dict(model.architecture["text"])
    config: Any = transformers.AutoConfig.for_model(text.pop("model_type"), **text)
    kind = transformers.BertModel if config.model_type == "bert" else transformers.XLMRobertaModel
    bert: Any = kind(config, add_pooling_layer=False)
    bert.load_state_dict(model.text.state_dict(), strict=False)
    device = model.visual_proj.weight.device
    eva, encoder = eva.to(device).eval(), bert.encoder.to(device).eval()
    ids = torch.tensor(model.tokenizer([""])["input_ids"], device=device)

    def forward(image: torch.Tensor) -> torch.Tensor:
        tokens = model.visual_proj(eva.forward_features(image)[:, 1:])
        count = tokens.shape[1]
        images = model.text.place(tokens, torch.arange(1, count + 1, device=device))
        words = model.text.embed_words(ids, torch.tensor([0, count + 1], device=device))
        hidden = torch.cat([words[:, :1], images, words[:, 1:]], dim=1)
        last: torch.Tensor = encoder(hidden, attention_mask=None).last_hidden_state
        return last[:, 0]

    return forward


def count_operations(encoder: Encoder, image: bool, text: str | None) -> float:
    """Floating-point operations of our forward pass for one image, one text or one pair.

    Counted by torch's `FlopCounterMode` (a multiplication and an addition are two), so only
    matrix products and convolutions are included.

    Args:
        encoder: loaded in fp32, whose layers the counter knows.
        image: whether there is an image.
        text: the text, if there is one.
    """
    from torch.utils.flop_counter import FlopCounterMode

    model = encoder.model
    # Models that take any shape get a square of CLIP's size.
    side = model.image_size or 224
    pixels = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    # torch's `MultiheadAttention` has its own inference kernel, which is not counted.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model.embed(pixels if image else None, None if text is None else [text])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counter.get_total_flops())


def product_rate(
    device: torch.device, precision: str, seconds: float = 2.0, side: int | None = None
) -> float:
    """Operations per second of a large matrix product, the quickest of those tried.

    torch's own product and, on a CPU, the layers that the encoders use. A product takes
    2 side^3 operations; of repetitions, the median counts. Below the side that suits the device,
    the limit is not reached.
    """
    side = side or _SIDE[device.type]
    if device.type == "cuda" and precision in QUANTISED:
        return eight_bit_rate(device, precision, seconds, side)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    linear = nn.Linear(side, side, device=device).to(dtype).requires_grad_(False)
    x = torch.randn(side, side, device=device).to(dtype)
    products: list[Callable[[], torch.Tensor]] = [lambda: linear(x)]
    if precision == "int8":
        layer, levels = Int8Linear(linear), quantise(x)
        products = [lambda: layer.multiply(*levels, dtype)]
    elif precision == "bf16" and device.type == "cpu" and can_pack():
        packed = PackedLinear(linear)
        products.append(lambda: packed(x))
    with torch.inference_mode():
        return max(2 * side**3 / _median_seconds(product, device, seconds) for product in products)


def eight_bit_rate(device: torch.device, precision: str, seconds: float, side: int) -> float:
    """`product_rate` of int8 or fp8 on a GPU, by torch's own products, without quantising."""
    layer = LAYERS[precision](nn.Linear(side, side, bias=False, device=device))
    levels = layer.quantise(torch.randn(side, side, device=device))
    scales = torch.ones(side, device=device)
    with torch.inference_mode():
        took = _median_seconds(lambda: layer.multiply(levels, scales), device, seconds)
    return 2 * side**3 / took


def _median_seconds(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    call()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends:
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
