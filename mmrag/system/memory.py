"""Out of memory, in any library: one sentence with the need and smaller choices."""

from __future__ import annotations

import errno
import re

import psutil

_WORDS = re.compile(
    r"out of memory|(cannot|can't|can not|unable to|failed to) allocate|not enough memory|bad_alloc"
    r"|failed to map segment|can't start new thread|allocation failed",
    re.IGNORECASE,
)
# Python's message if a library lost a MemoryError on its way.
_NO_REASON = re.compile(r"NULL without setting an exception|error return without exception set")
_LITTLE = 500 << 20
_BYTES = re.compile(r"(?:allocate|size)\D{0,40}?(\d[\d.]*) ?([KMGT]i?B|bytes)", re.IGNORECASE)
_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def out_of_memory(error: BaseException) -> str | None:
    """The sentence for an error that means that memory ran short; None for any other error.

    torch raises RuntimeError, Rust libraries OSError-like text, the loader ImportError: only the
    words are common to them.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for one in chain:
        short = isinstance(one, MemoryError) or getattr(one, "errno", None) == errno.ENOMEM
        libraries = isinstance(one, RuntimeError | ImportError | OSError | ValueError)
        if isinstance(one, SystemError) and _NO_REASON.search(str(one)) and _is_tight():
            short = True
        if short or (libraries and _WORDS.search(str(one))) or _is_foreign(one):
            return (
                f"There is not enough memory{_needed(str(one))}. Close other programs, or choose "
                "something smaller: a smaller --encoder, --precision bf16, a smaller --batch-size, "
                "fewer MMRAG_DECODE_WORKERS."
            )
    return None


def _is_tight() -> bool:
    """Whether memory is limited or nearly used up."""
    import resource

    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return limited or psutil.virtual_memory().available < _LITTLE


def _is_foreign(error: BaseException) -> bool:
    """Whether it is an error of a library's own class that says so."""
    module = type(error).__module__.partition(".")[0]
    return module not in ("builtins", "mmrag") and bool(_WORDS.search(str(error)))


def _needed(text: str) -> str:
    found = _BYTES.search(text)
    if not found:
        return ""
    size = float(found[1].rstrip(".")) * _UNITS[found[2][0].lower()]
    return f": {size / 1e6:,.0f} MB more were needed at once"
