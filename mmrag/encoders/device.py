"""The device and the floating-point precision that a model runs on."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

from mmrag.errors import MmragError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8", "fp8")
# Each is a class of its own, whose vectors do not mix with float ones.
QUANTISED = ("int8", "fp8")
# glibc's names for its settings.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def resolve_device(name: str = "auto") -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        MmragError: that device is not there.
    """
    import torch

    kind = name.split(":")[0]
    if kind not in DEVICES or name.startswith("auto:"):
        raise MmragError(f"Unknown device {name!r}; use one of {', '.join(DEVICES)}.")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise MmragError("No CUDA device is available here; use --device auto or cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise MmragError("No MPS device is available here; use --device auto or cpu.")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise MmragError(f"Unknown device {name!r}; use for example cuda:0.") from None
    if kind == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MmragError(f"There is no device {name!r}: {torch.cuda.device_count()} are here.")
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """The precision to compute in; `auto` is bf16 if the hardware multiplies in bf16, else fp32.

    Raises:
        MmragError: an unknown precision, or one that `device` lacks.
    """
    if name not in PRECISIONS:
        raise MmragError(f"Unknown precision {name!r}; use one of {', '.join(PRECISIONS)}.")
    if name == "int8" and not multiplies_int8(device):
        raise MmragError(
            "Precision int8 is for x86 CPUs with VNNI or AMX instructions, and NVIDIA GPUs from "
            "Ampere on; use auto here."
        )
    if name == "fp8" and not multiplies_fp8(device):
        raise MmragError("Precision fp8 is for NVIDIA GPUs from Ada and Hopper on; use auto here.")
    if name != "auto":
        return name
    return "bf16" if multiplies_bf16(device) else "fp32"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bf16 products (emulation does not count)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        # x86 (AVX-512 BF16, AMX) and 64-bit Arm (BF16 extension) use different names.
        return any(found.get(flag) for flag in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    return False


def multiplies_int8(device: torch.device) -> bool:
    """Whether `device` has instructions for int8 products; without them, int8 takes minutes."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(found.get(f) for f in ("avx512_vnni", "amx_int8"))


def multiplies_fp8(device: torch.device) -> bool:
    """Whether `device` is a GPU with instructions for products of 8-bit floats."""
    import torch

    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def torch_dtype(precision: str, device: torch.device | None = None) -> torch.dtype:
    """The torch dtype of `fp32`, `bf16` or `fp16`; for int8 and fp8, of the parts not quantised."""
    import torch

    if precision in QUANTISED:
        precision = resolve_precision("auto", device or torch.device("cpu"))
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next batch; the system would hand it back zeroed.

    By default, activations of some megabytes return to the system as soon as they are freed, and
    every batch pays for page faults. Here up to 256 MB stay with the process. Other systems and C
    libraries are unaffected.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
