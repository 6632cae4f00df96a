"""Preprocessing of open_clip's models, as the command line gives it."""

from __future__ import annotations

from typing import Any

from open_clip.constants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    OPENAI_DATASET_MEAN,
    OPENAI_DATASET_STD,
)

from mmrag.errors import MmragError

_NAMED_COLOURS = {
    "mean": {"openai": OPENAI_DATASET_MEAN, "imagenet": IMAGENET_MEAN, "inception": INCEPTION_MEAN},
    "std": {"openai": OPENAI_DATASET_STD, "imagenet": IMAGENET_STD, "inception": INCEPTION_STD},
}
_NAMED_CHOICES = {
    "resize": ("resize_mode", ("shortest", "longest", "squash")),
    "interpolation": ("interpolation", ("bicubic", "bilinear")),
}


def parse_preprocess(text: str) -> dict[str, Any]:
    """`mean=0.5,std=0.5,resize=squash` as fields of open_clip's `PreprocessCfg`.

    Keys are mean and std (a number, three of them as `0.48/0.46/0.41`, or `openai`, `imagenet` or
    `inception`), resize (`shortest`, `longest`, `squash`), interpolation (`bicubic`, `bilinear`)
    and fill (0 to 255).

    Raises:
        MmragError: anything else.
    """
    parsed: dict[str, Any] = {}
    for part in text.split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            if key in _NAMED_COLOURS:
                parsed[key] = _colour(key, value)
            elif key in _NAMED_CHOICES:
                field, choices = _NAMED_CHOICES[key]
                parsed[field] = choices[choices.index(value)]
            elif key == "fill":
                parsed["fill_color"] = range(256)[int(value)]
            else:
                raise ValueError
        except (ValueError, IndexError):
            raise MmragError(
                f"--preprocess cannot be {part.strip()!r}; give some of mean=0.48/0.46/0.41 (or "
                "one number, or openai, imagenet, inception), std likewise, "
                "resize=shortest|longest|squash, interpolation=bicubic|bilinear, fill=0 to 255, "
                "with commas between."
            ) from None
    return parsed


def _colour(key: str, value: str) -> list[float]:
    numbers = _NAMED_COLOURS[key].get(value) or [float(number) for number in value.split("/")]
    three = [*numbers] if len(numbers) == 3 else [numbers[0]] * 3
    if len(numbers) not in (1, 3) or not all(-10 < number < 10 for number in three):
        raise ValueError
    if key == "std" and min(three) <= 0:
        raise ValueError
    return three
