"""Bootstrap intervals, paired randomisation tests, Holm's correction."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
PERMUTATIONS = 10_000
LEVEL = 0.95
# Elements of one block of resampled indices or signs: bounds memory whatever their number.
_BLOCK = 4_000_000


def generator(seed: int, what: str = "") -> np.random.Generator:
    """Random numbers that depend only on the seed and on what they are for."""
    return np.random.default_rng([seed, zlib.crc32(what.encode())])


def bootstrap_means(
    values: Floats, seed: np.random.Generator, resamples: int = RESAMPLES
) -> Floats:
    """Means of bootstrap resamples of the rows.

    Args:
        values: (n, m): n queries, m metrics. All metrics share the resamples.
        seed: source of randomness.
        resamples: how many.

    Returns:
        (resamples, m).
    """
    n = len(values)
    means = np.empty((resamples, values.shape[1]))
    block = max(1, _BLOCK // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = seed.integers(0, n, (rows, n), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = counts.astype(np.float64) @ values / n
    return means


def bootstrap_interval(
    values: Floats, seed: np.random.Generator, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of the mean of each column (B. Efron, 1979).

    Args:
        values: (n, m), n > 0, without NaN.
        seed: source of randomness.
        resamples: how many resamples of the n rows.
        level: coverage, 0.95 for a 95 % interval.

    Returns:
        Lower and upper ends, (m,) each.
    """
    return percentile_interval(bootstrap_means(values, seed, resamples), level)


def percentile_interval(means: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The central `level` of each column of resampled means."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def randomisation_test(
    differences: Floats, seed: np.random.Generator, permutations: int = PERMUTATIONS
) -> float:
    """Two-sided p-value of a paired randomisation test on the mean difference.

    Under the null hypothesis the two systems may be swapped for any query, which flips the sign
    of its difference (R. A. Fisher, 1935; for retrieval M. Smucker et al., CIKM 2007). All sign
    patterns are tried if there are at most `permutations`, else that many random ones, with the
    observed one counted among them (B. Phipson and G. Smyth, 2010).

    Args:
        differences: (n,), one per query.
        seed: source of randomness.
        permutations: sign patterns to try.

    Returns:
        p between 0 and 1; 1 when nothing differs.
    """
    some = differences[differences != 0]
    n = len(some)
    if n == 0:
        return 1.0
    # A sum that differs from the observed one only by rounding is as extreme.
    observed = abs(some.sum()) * (1 - 1e-12) - 1e-12
    if n < 63 and 2**n <= permutations:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((2.0 * patterns - 1) @ some) >= observed))
    extreme = 0
    block = max(1, _BLOCK // n)
    for start in range(0, permutations, block):
        rows = min(block, permutations - start)
        bits = np.frombuffer(seed.bytes((rows * n + 7) // 8), np.uint8)
        signs = np.unpackbits(bits, count=rows * n).reshape(rows, n).astype(np.float64)
        sums = 2 * (signs @ some) - some.sum()
        extreme += int((np.abs(sums) >= observed).sum())
    return (extreme + 1) / (permutations + 1)


def smallest_p(tests: int, permutations: int = PERMUTATIONS) -> str:
    """A sentence on the smallest corrected p-value that random sign patterns can give."""
    least = min(1.0, tests / (permutations + 1))
    return f"With {permutations:,} permutations the smallest corrected p here is {least:.1g}."


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by the step-down method of S. Holm (1979)."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = largest
    return corrected
