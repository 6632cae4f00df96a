"""The places of the eval sets that ship, the bench suite and the dashboard's script.

In a clone they lie beside the package; the wheel carries them inside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_CLONE = _PACKAGE.parent
_CARRIED = _PACKAGE / "_shipped"
IS_CLONE = not _CARRIED.is_dir() and (_CLONE / "dashboard.py").is_file()
ROOT = _CLONE if IS_CLONE else _CARRIED
# Notes on shipped encoders, wherever they are compared.
WEAK_ON_PURPOSE = {
    frozenset({"demo", "demo-clip"}): "demo-clip is the weaker one on purpose: it was trained for "
    "300 steps, demo for 2,000.",
    frozenset({"photos", "photos-small"}): "photos-small is the weaker one on purpose: it looks at "
    "a third of the pixels, through the lower half of photos' tower, as ImageNet left it.",
}
