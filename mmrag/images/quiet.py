"""Silence for libtiff, which writes straight to standard error, past Python's warnings and logs."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
from pathlib import Path

import PIL


def silence_libtiff() -> None:
    """Remove the handlers of Pillow's libtiff, if it is a separate library."""
    package = Path(PIL.__file__).parent
    bundled = [*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")]
    for library in map(str, bundled) if bundled else [ctypes.util.find_library("tiff")]:
        with contextlib.suppress(OSError, AttributeError, TypeError):
            tiff = ctypes.CDLL(library)
            for setter in (tiff.TIFFSetErrorHandler, tiff.TIFFSetWarningHandler):
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)
