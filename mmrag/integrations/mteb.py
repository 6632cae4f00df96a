"""Encoders as models of MTEB (https://github.com/embeddings-benchmark/mteb); the extra `mteb`.

from mmrag.integrations.mteb import mteb_model
mteb.evaluate(mteb_model("visualized-bge-base"), mteb.get_tasks(["CIRRIT2IRetrieval"]))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag.encoders import load_encoder
from mmrag.encoders.encoder import Encoder, Vectors
from mmrag.errors import MmragError
from mmrag.runs.mteb_results import model_meta

try:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.types import PromptType
except ImportError as error:
    raise MmragError("MTEB is not installed: pip install 'mmrag[mteb]'.") from error

if TYPE_CHECKING:
    from collections.abc import Iterable


class MtebModel(AbsEncoder):  # type: ignore[misc]
    """An encoder of mmrag in MTEB's interface, for tasks of texts, pictures and both together.

    A pair of picture and text is one composed query, composed as the encoder does it. A task's
    instruction is not added: none of mmrag's own encoders was trained with it.

    Args:
        model_name: a name that `load_encoder` takes, or a name for `encoder`.
        revision: under which MTEB stores results; default: the weights' fingerprint.
        device: as `load_encoder`.
        encoder: one already loaded.
        options: more arguments of `load_encoder`.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        encoder: Encoder | None = None,
        **options: Any,
    ) -> None:
        self.model = encoder or load_encoder(model_name, device=device or "auto", **options)
        info = self.model.info
        known = {
            "name": info.name,
            "fingerprint": info.fingerprint,
            "dim": info.dim,
            "parameters": info.parameters,
            "licence": info.licence,
        }
        self.mteb_model_meta = ModelMeta(**model_meta(known, model_name, revision))

    def encode(
        self,
        inputs: Iterable[dict[str, Any]],
        *,
        prompt_type: PromptType | None = None,
        batch_size: int | None = None,
        **_: Any,
    ) -> Vectors:
        """(n, dim) float32 vectors, unit rows, of batches with `text`, `image`, or both.

        Args:
            inputs: batches as from MTEB: column to values.
            prompt_type: whether they are queries or documents.
            batch_size: inputs per forward pass.
        """
        query = prompt_type == PromptType.query
        rows = [np.empty((0, self.model.info.dim), np.float32)]
        for batch in inputs:
            images, texts = batch.get("image"), batch.get("text")
            if texts is not None and images is not None:
                # A blank text beside a picture means none.
                pairs = zip(texts, images, strict=True)
                texts = [text or (None if image is not None else "") for text, image in pairs]
            rows.append(self.model.encode(images, texts, batch_size, query))
        return np.concatenate(rows)


def mteb_model(
    encoder: Encoder | str, *, name: str | None = None, revision: str | None = None, **options: Any
) -> MtebModel:
    """An encoder as a model for `mteb.evaluate`.

    Args:
        encoder: loaded, or a name that `load_encoder` takes.
        name: for MTEB, OWNER/MODEL; default: `mmrag/` and the encoder's name.
        revision: under which results are stored; default: the weights' fingerprint.
        options: arguments of `load_encoder`, for a name.
    """
    loaded = encoder if isinstance(encoder, Encoder) else load_encoder(encoder, **options)
    return MtebModel(name or loaded.info.name, revision, encoder=loaded)
