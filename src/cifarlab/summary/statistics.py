"""Means and intervals over seeds, the test against seed noise, and paired comparisons.

Distributions are those of `scipy.special`; `scipy.stats`, which takes 0.8 s to import on two cores, is left to the
paired test, which few summaries need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

LEVEL = 0.95
POWER = 0.80
FEWEST = 3  # values that an interval is worth saying of: that of two reaches over nine standard deviations either way
STATISTICS = ("mean", "sd", "se", "low", "high", "min", "max")
Floats = NDArray[np.float64]


def describe(
    values: ArrayLike, groups: ArrayLike, num_groups: int, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> dict[str, Floats]:
    """`n` and the STATISTICS of each group: `sd` with n - 1, `low` and `high` the 95 % t-interval of the mean.

    The interval is cut to the bounds: a mean cannot lie outside of them, so the cut takes nothing from the 95 %.

    Args:
        values: (N,) numbers; NaN is left out.
        groups: (N,) int in [0, num_groups).
        bounds: what the values lie between, such as (0, 1) for accuracies.

    Returns:
        Arrays (num_groups,) by name; NaN where a group has too few values: none for `mean`, fewer than two for `sd`,
        fewer than FEWEST for `low` and `high`.
    """
    numbers = np.asarray(values, dtype=float)
    codes = np.asarray(groups, dtype=np.intp)
    kept = np.isfinite(numbers)
    numbers, codes = numbers[kept], codes[kept]
    n = np.bincount(codes, minlength=num_groups).astype(float)
    low, high = np.full(num_groups, np.inf), np.full(num_groups, -np.inf)
    np.minimum.at(low, codes, numbers)
    np.maximum.at(high, codes, numbers)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(codes, numbers, num_groups) / n
        squares = np.bincount(codes, (numbers - mean[codes]) ** 2, num_groups)
        sd = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
        se = sd / np.sqrt(n)
        reach = np.where(n < FEWEST, np.nan, quantile_t(n - 1) * se)
    return {
        "n": n,
        "mean": mean,
        "sd": sd,
        "se": se,
        "low": np.maximum(mean - reach, bounds[0]),
        "high": np.minimum(mean + reach, bounds[1]),
        "min": np.where(n > 0, low, np.nan),
        "max": np.where(n > 0, high, np.nan),
    }


def quantile_t(freedom: ArrayLike, level: float = LEVEL) -> Floats:
    """Student's t that a central share `level` lies within; NaN without degrees of freedom."""
    degrees = np.asarray(freedom, dtype=float)
    safe = np.where(degrees > 0, degrees, np.nan)
    return np.asarray(special.stdtrit(safe, 0.5 + level / 2))


@dataclass(frozen=True, kw_only=True)
class SpreadTest:
    """One-way analysis of variance: do the settings differ by more than seeds do?

    Attributes:
        f: between-settings over within-settings mean square; p: its upper tail.
        between_sd: standard deviation of the settings' means; within_sd: the pooled one over seeds.
    """

    f: float
    p: float
    between_freedom: int
    within_freedom: int
    between_sd: float
    within_sd: float

    @property
    def within_noise(self) -> bool:
        """True where the differences are no larger than seeds alone would make them (p >= 0.05)."""
        return not self.p < 1 - LEVEL


def spread_test(values: ArrayLike, groups: ArrayLike) -> SpreadTest | None:
    """The F test over settings; None with fewer than two settings or where no setting has two values.

    Args:
        values: (N,) numbers, NaN left out. groups: (N,) int, the setting of each.
    """
    numbers, codes = np.asarray(values, dtype=float), np.asarray(groups)
    kept = np.isfinite(numbers)
    numbers, codes = numbers[kept], np.unique(codes[kept], return_inverse=True)[1]
    settings = int(codes.max()) + 1 if codes.size else 0
    between, within = settings - 1, numbers.size - settings
    if between < 1 or within < 1:
        return None
    n = np.bincount(codes)
    mean = np.bincount(codes, numbers) / n
    between_square = float((n * (mean - numbers.mean()) ** 2).sum()) / between
    within_square = float(((numbers - mean[codes]) ** 2).sum()) / within
    f = between_square / within_square if within_square else (np.inf if between_square else 0.0)
    return SpreadTest(
        f=f,
        p=float(special.fdtrc(between, within, f)) if np.isfinite(f) else 0.0,
        between_freedom=between,
        within_freedom=within,
        between_sd=float(mean.std(ddof=1)),
        within_sd=within_square**0.5,
    )


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Paired t-test of `n` differences: effect (their mean), 95 % t-interval, two-sided p."""

    n: int
    effect: float
    sd: float
    low: float
    high: float
    p: float


def paired_test(differences: ArrayLike) -> PairedTest:
    """Student's paired t-test; sd, interval and p are NaN for a single pair.

    Args:
        differences: (n,) finite numbers, n >= 1.
    """
    from scipy import stats

    d = np.asarray(differences, dtype=float)
    effect = float(d.mean())
    if d.size < 2:
        return PairedTest(n=1, effect=effect, sd=np.nan, low=np.nan, high=np.nan, p=np.nan)
    if not np.ptp(d):  # without spread t has no value
        return PairedTest(n=d.size, effect=effect, sd=0.0, low=effect, high=effect, p=0.0 if effect else 1.0)
    test = stats.ttest_1samp(d, 0.0)
    low, high = test.confidence_interval(LEVEL)
    return PairedTest(
        n=d.size, effect=effect, sd=float(d.std(ddof=1)), low=float(low), high=float(high), p=float(test.pvalue)
    )


def holm(p_values: ArrayLike) -> Floats:
    """p-values corrected for their number (Holm, 1979, Scandinavian Journal of Statistics 6).

    Args:
        p_values: (k,) in [0, 1]; NaN stays NaN and is not counted.
    """
    p = np.asarray(p_values, dtype=float)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if order.size else steps
    return corrected


def pairs_needed(effect: float, sd: float) -> float:
    """Pairs that a two-sided paired t-test at 5 % needs to find `effect` with a power of 80 %.

    n = (z_0.975 + z_0.80)^2 sd^2 / effect^2 + z_0.975^2 / 2, rounded up (normal approximation with Guenther's
    correction for t, 1981, The American Statistician 35). Infinite for no effect, NaN for an unknown sd.
    """
    if not np.isfinite(sd) or effect == 0:
        return float("nan") if not np.isfinite(sd) else float("inf")
    z_level, z_power = special.ndtri([0.5 + LEVEL / 2, POWER])
    return float(np.ceil((z_level + z_power) ** 2 * (sd / effect) ** 2 + z_level**2 / 2))
