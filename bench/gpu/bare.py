"""Stand-ins for two small packages that mmrag needs, for machines with torch and little else."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any


def fill_in(absent: frozenset[str] = frozenset()) -> None:
    """Fill in for packages not installed, or in `absent`. Call it before importing mmrag."""
    for name, content in _STAND_INS.items():
        if name in absent or importlib.util.find_spec(name) is None:
            module = ModuleType(name)
            vars(module).update(content)
            sys.modules[name] = module


def _dumps(value: Any, option: int = 0) -> bytes:
    return json.dumps(value).encode() + b"\n" * (option & 1)


_STAND_INS: dict[str, dict[str, Any]] = {
    # No picture measured is HEIC.
    "pillow_heif": {"register_heif_opener": lambda: None},
    "orjson": {
        "loads": json.loads,
        "dumps": _dumps,
        "JSONDecodeError": json.JSONDecodeError,
        "OPT_APPEND_NEWLINE": 1,
        "OPT_INDENT_2": 2,
    },
}
