"""The limits of the device: matrix products, memory, copies from the host."""

from __future__ import annotations

import torch

from bench.gpu.session import Session
from bench.reference import eight_bit_rate, product_rate

_GB = 1e9


def limits(session: Session) -> None:
    """Measure products in each precision, and copies from the host and within device memory."""
    seconds, side = (0.0, 64) if session.quick else (0.5, 8192 if session.on_gpu else 2048)
    rates: dict[str, float] = {}
    for name in ("fp32", "tf32", "bf16", "fp16", "int8", "fp8"):
        # Precisions that this device lacks are left out.
        try:
            rates[name] = _product(session, name, seconds, side)
        except (RuntimeError, NotImplementedError) as error:
            session.document["parts"][f"limit {name}"] = {"outcome": str(error)[:200]}
    session.document["limits"] = rates
    for name, rate in rates.items():
        took = [2 * side**3 / rate]
        params = {"precision": name, "side": side}
        session.row("limits", f"product {name}", took, params, tflop_per_s=round(rate / 1e12, 2))
    size = 1 << (16 if session.quick else 28)
    here = torch.empty(size, dtype=torch.uint8, pin_memory=session.on_gpu)
    there, other = (torch.empty(size, dtype=torch.uint8, device=session.device) for _ in range(2))
    for name, target, source, moved in (
        ("to the device", there, here, size),
        ("from the device", here, there, size),
        ("within the device", other, there, 2 * size),
    ):
        times = session.times(lambda t=target, s=source: t.copy_(s, non_blocking=True), 5)  # type: ignore[misc]
        rate = round(moved / min(times) / _GB, 2)
        session.row("limits", f"copy {name}", times, {}, gb_per_s=rate)


def _product(session: Session, name: str, seconds: float, side: int) -> float:
    if name in ("int8", "fp8"):
        return eight_bit_rate(session.device, name, seconds, side)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        return product_rate(session.device, "fp32" if name == "tf32" else name, seconds, side)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
