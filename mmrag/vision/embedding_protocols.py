"""How hosted embedding models are asked: one entry in `PROTOCOLS` for each provider.

Sources of the formats, as read in November 2026:

- Cohere: https://github.com/cohere-ai/cohere-python 7.3.1
- Voyage: https://github.com/voyage-ai/voyageai-python 0.5.0
- Gemini: https://github.com/googleapis/python-genai 3.6.1, and for task types
  https://github.com/embeddings-benchmark/mteb/pull/4851
- jina: https://api.jina.ai/openapi.json of 2 April 2026
- vLLM: docs/models/pooling_models/embed.md and examples/pooling/embed/vision_embedding_online.py
  in https://github.com/vllm-project/vllm
- Infinity: https://github.com/michaelfeil/infinity 0.0.78
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]


@dataclass(frozen=True)
class Input:
    """The input of one vector: pictures as data URLs, a text, or both."""

    pictures: tuple[str, ...]
    text: str | None


@dataclass(frozen=True)
class Protocol:
    """One provider.

    Attributes:
        base: base URL of its API; "" if `MMRAG_EMBEDDING_URL` gives it.
        path: the path after that, with `{model}`.
        key: the variable that holds the key; "" if none is needed.
        body: the request for inputs, whether they are queries, and the dimension or None.
        vectors: the vectors in an answer.
        used: tokens of texts and of pictures in an answer.
        together: most inputs in one request.
        composes: whether pictures and a text become one vector; if not, they are fused here.
        header: how the key is sent, with `{key}`.
        prices: US dollars per million tokens of text and of pictures (Voyage: of pixels), by the
            start of the model's name.
    """

    base: str
    path: str
    key: str
    body: Callable[[str, Sequence[Input], bool, int | None], JSON]
    vectors: Callable[[JSON], list[list[float]]]
    used: Callable[[JSON], tuple[int, int]]
    together: int = 16
    composes: bool = True
    header: tuple[str, str] = ("Authorization", "Bearer {key}")
    prices: tuple[tuple[str, tuple[float, float]], ...] = ()


def _parts(one: Input, picture: Callable[[str], JSON], text: Callable[[str], JSON]) -> list[JSON]:
    return [*map(picture, one.pictures), *([] if one.text is None else [text(one.text)])]


def _text_part(text: str) -> JSON:
    return {"type": "text", "text": text}


def _image_url(url: str) -> JSON:
    return {"type": "image_url", "image_url": {"url": url}}


def _given(**values: Any) -> JSON:
    return {key: value for key, value in values.items() if value is not None}


def _cohere(model: str, inputs: Sequence[Input], query: bool, dim: int | None) -> JSON:
    return {
        "model": model,
        "input_type": "search_query" if query else "search_document",
        "embedding_types": ["float"],
        "inputs": [{"content": _parts(one, _image_url, _text_part)} for one in inputs],
        **_given(output_dimension=dim),
    }


def _voyage(model: str, inputs: Sequence[Input], query: bool, dim: int | None) -> JSON:
    def picture(url: str) -> JSON:
        return {"type": "image_base64", "image_base64": url}

    return {
        "model": model,
        "input_type": "query" if query else "document",
        "inputs": [{"content": _parts(one, picture, _text_part)} for one in inputs],
        **_given(output_dimension=dim),
    }


def _gemini(model: str, inputs: Sequence[Input], query: bool, dim: int | None) -> JSON:
    def picture(url: str) -> JSON:
        kind, _, data = url.removeprefix("data:").partition(";base64,")
        return {"inline_data": {"mime_type": kind, "data": data}}

    # Its multimodal models have no task types; wording in their place is for text retrieval.
    return {
        "requests": [
            {
                "model": f"models/{model}",
                "content": {"parts": _parts(one, picture, lambda text: {"text": text})},
                **_given(outputDimensionality=dim),
            }
            for one in inputs
        ]
    }


def _jina(model: str, inputs: Sequence[Input], query: bool, dim: int | None) -> JSON:
    def plain(one: Input) -> JSON:
        if one.text is not None:
            return {"text": one.text}
        return {"image": one.pictures[0].partition(";base64,")[2]}

    # The CLIP models know a task for queries only.
    passage = None if model.startswith("jina-clip") else "retrieval.passage"
    return {
        "model": model,
        "input": [plain(one) for one in inputs],
        **_given(task="retrieval.query" if query else passage, dimensions=dim),
    }


def _vllm(model: str, inputs: Sequence[Input], query: bool, dim: int | None) -> JSON:
    def message(role: str, *content: JSON) -> JSON:
        return {"role": role, "content": list(content)}

    asked: JSON = {"messages": [message("user", *_parts(inputs[0], _image_url, _text_part))]}
    if "qwen3-vl-embedding" in model.lower():
        # As its authors prompt it: an instruction, and the end of an opened answer.
        asked["messages"].insert(0, message("system", _text_part("Represent the user's input.")))
        asked["messages"].append(message("assistant", _text_part("")))
        asked |= {"continue_final_message": True, "add_special_tokens": True}
    return {"model": model, **asked, "encoding_format": "float", **_given(dimensions=dim)}


def _infinity(model: str, inputs: Sequence[Input], query: bool, dim: int | None) -> JSON:
    return {
        "model": model,
        "modality": "text" if inputs[0].text is not None else "image",
        "input": [one.text if one.text is not None else one.pictures[0] for one in inputs],
        **_given(dimensions=dim),
    }


def _data(answer: JSON) -> list[list[float]]:
    rows = sorted(answer["data"], key=lambda one: one.get("index", 0))
    return [one["embedding"] for one in rows]


def _total(answer: JSON) -> tuple[int, int]:
    usage = answer.get("usage") or {}
    return int(usage.get("total_tokens") or usage.get("prompt_tokens") or 0), 0


def _billed(answer: JSON) -> tuple[int, int]:
    billed = (answer.get("meta") or {}).get("billed_units") or {}
    return int(billed.get("input_tokens") or 0), int(billed.get("image_tokens") or 0)


def _gemini_used(answer: JSON) -> tuple[int, int]:
    usage = answer.get("usageMetadata") or {}
    kinds = {
        one.get("modality"): int(one.get("tokenCount") or 0)
        for one in usage.get("promptTokensDetails") or []
    }
    # Tokens of unknown kind count as a picture's, which cost more.
    texts = kinds.get("TEXT", 0)
    return texts, int(usage.get("promptTokenCount") or 0) - texts


def _voyage_used(answer: JSON) -> tuple[int, int]:
    usage = answer.get("usage") or {}
    return int(usage.get("text_tokens") or 0), int(usage.get("image_pixels") or 0)


PROTOCOLS: dict[str, Protocol] = {
    "cohere": Protocol(
        "https://api.cohere.com",
        "/v2/embed",
        "COHERE_API_KEY",
        _cohere,
        lambda answer: list(answer["embeddings"]["float"]),
        _billed,
        # https://developer.puter.com/tutorials/cohere-api-pricing/, June 2026. For Embed 5 (text
        # 0.08 and 0.12) no price of pictures was found.
        prices=(("embed-v4", (0.12, 0.47)),),
    ),
    "voyage": Protocol(
        "https://api.voyageai.com",
        "/v1/multimodalembeddings",
        "VOYAGE_API_KEY",
        _voyage,
        _data,
        _voyage_used,
        # https://docs.voyageai.com/pricing: 0.60 a billion pixels for 3; and in 2026 for 3.5, says
        # https://usagepricing.com/blueprint/voyage-ai.
        prices=(("voyage-multimodal-3", (0.12, 0.0006)),),
    ),
    "gemini": Protocol(
        "https://generativelanguage.googleapis.com",
        "/v1beta/models/{model}:batchEmbedContents",
        "GEMINI_API_KEY",
        _gemini,
        lambda answer: [one["values"] for one in answer["embeddings"]],
        _gemini_used,
        # Six pictures a request.
        together=6,
        header=("x-goog-api-key", "{key}"),
        # https://tokencost.app/blog/gemini-embedding-2-pricing, March 2026.
        prices=(("gemini-embedding-2", (0.20, 0.45)),),
    ),
    "jina": Protocol(
        "https://api.jina.ai",
        "/v1/embeddings",
        "JINA_API_KEY",
        _jina,
        _data,
        _total,
        composes=False,
    ),
    "vllm": Protocol("", "/v1/embeddings", "", _vllm, _data, _total, together=1),
    "infinity": Protocol("", "/embeddings", "", _infinity, _data, _total, composes=False),
}
