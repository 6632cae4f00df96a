"""Tokenizers of this project's own folders, without transformers, which takes long to import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from mmrag.system.text_files import read_text

_TOKENS, _CONFIG = "tokenizer.json", "tokenizer_config.json"
# The classes that transformers writes for a tokenizer wholly described by its tokenizer.json.
_CLASSES = frozenset({"TokenizersBackend", "PreTrainedTokenizerFast"})
_SPECIAL = frozenset({"cls_token", "mask_token", "pad_token", "sep_token", "unk_token"})
_PLAIN = frozenset({"backend", "is_local", "local_files_only", "model_max_length"})


class FastTokenizer:
    """The few members of transformers' tokenizers that encoders use.

    Args:
        folder: one for which `can_read` is true.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {name: (folder / name).read_bytes() for name in (_TOKENS, _CONFIG)}
        self._tokens: Tokenizer = Tokenizer.from_str(self._files[_TOKENS].decode())
        self._tokens.no_padding()
        self._tokens.no_truncation()
        pad = self._tokens.token_to_id(json.loads(self._files[_CONFIG])["pad_token"])
        assert pad is not None
        self.pad_token_id = pad

    @staticmethod
    def can_read(folder: Path) -> bool:
        """Whether the folder's tokenizer is wholly in its tokenizer.json."""
        if not (folder / _TOKENS).is_file() or not (folder / _CONFIG).is_file():
            return False
        try:
            config = json.loads(read_text(folder / _CONFIG))
            added = json.loads(read_text(folder / _TOKENS))["added_tokens"]
            tokens = {one["content"] for one in added}
            return (
                config["tokenizer_class"] in _CLASSES
                and config.keys() <= _SPECIAL | _PLAIN | {"tokenizer_class"}
                and "pad_token" in config
                and {config[name] for name in _SPECIAL & config.keys()} <= tokens
            )
        # transformers will say what is wrong with it.
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def __call__(
        self, texts: Sequence[str], add_special_tokens: bool = True
    ) -> dict[str, list[list[int]]]:
        """Token ids of each text, under "input_ids"."""
        encoded = self._tokens.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in encoded]}

    def __len__(self) -> int:
        return int(self._tokens.get_vocab_size(with_added_tokens=True))

    def get_vocab(self) -> dict[str, int]:
        """Ids by token."""
        return dict(self._tokens.get_vocab(with_added_tokens=True))

    def save_pretrained(self, folder: str) -> None:
        """Write the files it was read from."""
        for name, data in self._files.items():
            (Path(folder) / name).write_bytes(data)
