"""Embeddings over HTTP: cached, counted and limited like the answers of vision models."""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from mmrag import config
from mmrag.encoders.any_shape import AnyShape
from mmrag.encoders.fusion import check_fusion, fuse
from mmrag.encoders.model import Ability
from mmrag.errors import MmragError, ModelServerError
from mmrag.images.decode import Pixels
from mmrag.images.grid import encode_grid
from mmrag.types import Usage
from mmrag.vision.budget import Budget
from mmrag.vision.cache import ResponseCache
from mmrag.vision.embedding_protocols import PROTOCOLS, Input, Protocol
from mmrag.vision.retry import wait_after

_LONGEST_SIDE = 1024
_TIMEOUT, _RETRIES = 60.0, 3
# Bytes of pictures in one request: Cohere takes 20 MB.
_MOST_BYTES = 15_000_000
# A token covers at least this many pixels (Cohere makes about 1,610 of 512 x 512, according to
# Oracle's documentation of its model), and a byte of text is at most a token.
_PIXELS = 12 * 12


@dataclass(frozen=True)
class Limits:
    """US dollars in all (None is no limit), requests at once, and seconds for each."""

    max_cost: float | None
    concurrency: int
    timeout: float

    @classmethod
    def of(cls, max_cost: float | None, concurrency: int | None, timeout: float | None) -> Limits:
        """These limits, with the settings' values in place of None."""
        return cls(
            config.embedding_max_cost() if max_cost is None else max_cost,
            config.embedding_concurrency() if concurrency is None else concurrency,
            _TIMEOUT if timeout is None else timeout,
        )


class HostedModel(AnyShape):
    """An embedding model behind an address.

    `usage` counts its requests, tokens and cost, which `limits` restricts.

    Raises:
        ModelServerError: no key, no address, or no answer; never shows a key.
    """

    def __init__(
        self,
        name: str,
        protocol: Protocol,
        model: str,
        dim: int | None,
        fusion: str,
        image_weight: float,
        limits: Limits,
    ) -> None:
        super().__init__()
        check_fusion(fusion, image_weight)
        self.name, self.protocol, self.model_name = name, protocol, model
        self.fusion, self.image_weight = fusion, image_weight
        both = {"any-shape", "paid", "several"} if protocol.composes else {"any-shape", "paid"}
        self.abilities: frozenset[Ability] = frozenset(both)  # type: ignore[arg-type]
        base = config.embedding_url() or protocol.base
        if not base:
            raise ModelServerError(
                f"{name} needs an address: set MMRAG_EMBEDDING_URL, such as http://127.0.0.1:8000."
            )
        self.address = str(httpx.URL(base).copy_with(userinfo=b""))
        self._url = base.rstrip("/") + protocol.path.format(model=model)
        self._key = os.environ.get(protocol.key) if protocol.key else config.embedding_key()
        if protocol.key and not self._key:
            raise ModelServerError(f"{name} needs a key: set {protocol.key}.")
        self.price = next((p for start, p in protocol.prices if model.startswith(start)), None)
        self.limits, self.budget = limits, Budget(limits.max_cost)
        if self.budget.limit is not None and self.price is None and protocol.key:
            raise MmragError(
                f"No price of {name} is known, so its cost cannot be limited; leave "
                "--embedding-max-cost out, and MMRAG_EMBEDDING_MAX_COST, to go on without a limit."
            )
        self.usage = Usage()
        self._lock = threading.Lock()
        self._cache = ResponseCache()
        self._client = httpx.Client(
            timeout=limits.timeout,
            follow_redirects=False,
            trust_env=False,
            proxy=config.model_proxy(),
        )
        self._wanted_dim = dim
        self.dim = 0
        self.dim = len(self._vectors([Input((), "a")], query=True)[0])
        if dim is not None and self.dim != dim:
            raise MmragError(
                f"{name} has {self.dim} dimensions and gives no {dim}; leave --dim out."
            )

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image to (height, width, 3) uint8, no side longer than 1,024 pixels."""
        image = image.copy()
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        return np.asarray(image)

    def picture_tokens(self, height: int, width: int) -> int:
        """Roughly how many tokens a picture becomes; small, so that batches fill requests."""
        return 256

    def embed_any_shape(
        self, pictures: Sequence[Pixels] | None, texts: Sequence[str] | None, query: bool
    ) -> torch.Tensor:
        """Embed n inputs of one kind; see `AnyShapeModel`. Returns (n, dim)."""
        seen = None if pictures is None else [_data_url(one) for one in pictures]
        if seen is not None and texts is not None and not self.protocol.composes:
            apart = [
                torch.tensor(self._vectors([Input((one,), None) for one in seen], query)),
                torch.tensor(self._vectors([Input((), text) for text in texts], query)),
            ]
            return fuse(apart[0], apart[1], self.fusion, self.image_weight)
        n = len(seen if seen is not None else texts or ())
        inputs = [
            Input((seen[i],) if seen is not None else (), texts[i] if texts is not None else None)
            for i in range(n)
        ]
        return torch.tensor(self._vectors(inputs, query))

    def embed_several(self, pictures: Sequence[Pixels], text: str | None) -> torch.Tensor:
        """One query of several pictures; see `AnyShapeModel`. Returns (1, dim)."""
        one = Input(tuple(_data_url(picture) for picture in pictures), text)
        return torch.tensor(self._vectors([one], query=True))

    def _vectors(self, inputs: Sequence[Input], query: bool) -> list[list[float]]:
        """Vectors from the cache if there, else from the provider; several requests at once."""
        keys = [self._cache_key(one, query) for one in inputs]
        known = {key: self._cache.get(key) for key in dict.fromkeys(keys)}
        with self._lock:
            self.usage += Usage(cached=sum(one is not None for one in known.values()))
        wanted = {key: one for key, one in zip(keys, inputs, strict=True) if known[key] is None}
        parts = _parts(wanted, self.protocol.together)
        with ThreadPoolExecutor(self.limits.concurrency) as pool:
            try:
                for part, found in zip(
                    parts, pool.map(lambda p: self._ask(p, query), parts), strict=True
                ):
                    for (key, _), vector in zip(part, found, strict=True):
                        known[key] = {"vector": vector}
                        self._cache.put(key, {"vector": vector})
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return [known[key]["vector"] for key in keys]  # type: ignore[index]

    def _ask(self, part: Sequence[tuple[str, Input]], query: bool) -> list[list[float]]:
        inputs = [one for _, one in part]
        most = self._most(inputs)
        with self._lock:
            self.budget.reserve(most)
        spent = 0.0
        try:
            answer = self._post(
                self.protocol.body(self.model_name, inputs, query, self._wanted_dim)
            )
            texts, pictures = self.protocol.used(answer)
            cost = self._cost(texts, pictures)
            if cost is not None and not texts + pictures:
                cost = most  # The provider does not report its usage.
            spent = cost or 0.0
            with self._lock:
                self.usage += Usage(requests=1, prompt_tokens=texts + pictures, cost_usd=cost)
        finally:
            with self._lock:
                self.budget.settle(most, spent)
        try:
            vectors = [list(map(float, one)) for one in self.protocol.vectors(answer)]
        except (KeyError, TypeError, ValueError, IndexError):
            raise ModelServerError(f"{self.name} answers without embeddings.") from None
        dims = {len(one) for one in vectors}
        right = len(dims) == 1 and (not self.dim or dims == {self.dim})
        if len(vectors) != len(inputs) or not right:
            raise ModelServerError(
                f"{self.name} answers {len(vectors)} vectors of {sorted(dims)} values to "
                f"{len(inputs)} inputs."
            )
        return vectors

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        name, value = self.protocol.header
        headers = {name: value.format(key=self._key)} if self._key else {}
        for attempt in range(1, _RETRIES + 2):
            wait: float | None = None
            try:
                response = self._client.post(self._url, json=body, headers=headers)
                if response.status_code == 200:
                    return dict(response.json())
                wait = wait_after(response.status_code, _headers(response), attempt)
                said = f"status {response.status_code}: {response.text[:200]}"
            except httpx.TimeoutException:
                said = f"no answer within {self.limits.timeout:g} s; --embedding-timeout gives more"
            except httpx.HTTPError as lost:
                wait = wait_after(None, {}, attempt)
                said = str(lost)
            except (ValueError, TypeError):
                raise ModelServerError(f"{self.name} answers something that is no JSON.") from None
            if wait is None or attempt > _RETRIES:
                break
            time.sleep(wait)
        said = " ".join(said.split())
        said = said.replace(self._key, "***") if self._key else said
        raise ModelServerError(f"{self.name} at {self.address} gives no embeddings: {said}")

    def _cache_key(self, one: Input, query: bool) -> str:
        asked = self.protocol.body(self.model_name, [one], query, self._wanted_dim)
        return ResponseCache.key(self.address, asked)

    def _most(self, inputs: Sequence[Input]) -> float:
        texts = sum(len((one.text or "").encode()) + 8 for one in inputs)
        per_picture = _LONGEST_SIDE**2 // (1 if self.protocol is PROTOCOLS["voyage"] else _PIXELS)
        return self._cost(texts, per_picture * sum(len(one.pictures) for one in inputs)) or 0.0

    def _cost(self, texts: int, pictures: int) -> float | None:
        if not self.protocol.key:
            return 0.0
        if self.price is None:
            return None
        return (texts * self.price[0] + pictures * self.price[1]) / 1e6


def _parts(wanted: Mapping[str, Input], most: int) -> list[list[tuple[str, Input]]]:
    """Split inputs into requests: at most `most` in each, and no more than it can hold."""
    parts: list[list[tuple[str, Input]]] = []
    size = 0
    for key, one in wanted.items():
        more = sum(map(len, one.pictures))
        if not parts or len(parts[-1]) == most or size + more > _MOST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append((key, one))
        size += more
    return parts


def _headers(response: httpx.Response) -> Mapping[str, str]:
    """The headers, with the time to wait, which Gemini gives only in its message."""
    said = re.search(r"retry in (\d+(\.\d+)?) ?s", response.text)
    if said is None or "retry-after" in response.headers:
        return response.headers
    return {"retry-after": said[1]}


def _data_url(pixels: Pixels) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_grid(pixels, ".png")).decode()
