"""Means and intervals over seeds and folds, the test against their noise, and paired comparisons.

Distributions are those of `scipy.special`; `scipy.stats` takes 0.8 s to import on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
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
    values: ArrayLike,
    groups: ArrayLike,
    num_groups: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    overlap: ArrayLike = 0.0,
) -> dict[str, Floats]:
    """`n` and the STATISTICS of each group: `sd` with n - 1, `low` and `high` the 95 % t-interval of the mean.

    The interval is cut to the bounds: a mean cannot lie outside of them, so the cut takes nothing from the 95 %.
    Runs on resampled data share pictures and so are not independent: their standard error is the corrected one of
    Nadeau and Bengio (2003, "Inference for the Generalization Error", Machine Learning 52, section 3, eq. 9),
    sqrt(1/n + n2/n1) sd with n2 pictures validated and n1 trained on; of K folds n2/n1 is 1 / (K - 1).

    Args:
        values: (N,) numbers; NaN is left out.
        groups: (N,) int in [0, num_groups).
        bounds: what the values lie between, such as (0, 1) for accuracies.
        overlap: n2/n1 of each group, (num_groups,) or one number; 0 where every run has the same pictures.

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
        se = sd * np.sqrt(1 / n + np.asarray(overlap, dtype=float))
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
    """Do the settings differ by more than seeds do? An analysis of variance.

    Attributes:
        f: the statistic; p: its upper tail.
        between_freedom, within_freedom: of the F distribution; what the correction for unequal spreads has left.
        between_sd: standard deviation of the settings' means; within_sd: the pooled one over runs of a setting.
        blocks: seeds (or folds) that all settings share and that were taken as blocks; 0 where there are none.
        settings: how many were compared.
    """

    f: float
    p: float
    between_freedom: float
    within_freedom: float
    between_sd: float
    within_sd: float
    blocks: int
    settings: int

    @property
    def within_noise(self) -> bool:
        """True where the differences are no larger than seeds alone would make them (p >= 0.05)."""
        return not self.p < 1 - LEVEL


def spread_test(
    values: ArrayLike, groups: ArrayLike, blocks: ArrayLike | None = None, overlap: float = 0.0
) -> SpreadTest | None:
    """Test whether settings differ; None with fewer than two settings that have two values each.

    Where they share seeds, these are blocks: what a seed does to all settings is taken off first. Degrees of freedom
    are those of Box (1954, "Some Theorems on Quadratic Forms ... II", Annals of Mathematical Statistics 25) for spreads
    that differ from setting to setting, which are estimated; without shared seeds that is the test of Brown and
    Forsythe (1974, Technometrics 16) as Mehrotra corrected it (1997, Communications in Statistics B 26). Of two
    settings these are the paired t-test and Welch's. `python -m benchmarks.false_alarms` shows how often each is wrong.

    Args:
        values: (N,) numbers, NaN left out.
        groups: (N,) int, the setting of each.
        blocks: (N,) int, the seed of each.
        overlap: as in `describe`.
    """
    numbers, codes = np.asarray(values, dtype=float), np.asarray(groups)
    seeds = np.arange(numbers.size) if blocks is None else np.asarray(blocks)
    kept = np.isfinite(numbers)
    kept &= np.isin(codes, [code for code in np.unique(codes[kept]) if (codes[kept] == code).sum() > 1])
    numbers, seeds, codes = numbers[kept], seeds[kept], np.unique(codes[kept], return_inverse=True)[1]
    settings = int(codes.max()) + 1 if codes.size else 0
    if settings < 2:
        return None
    n = np.bincount(codes)
    mean = np.bincount(codes, numbers) / n
    variance = np.bincount(codes, (numbers - mean[codes]) ** 2) / (n - 1)
    table = _complete(numbers, codes, seeds)
    shared = table.shape[1] if table.shape[1] > 1 else 0
    f, between, within = _blocked(table) if shared else _unblocked(n, mean, variance)
    f /= 1 + overlap * (shared or n.mean())
    return SpreadTest(
        f=f,
        p=float(special.fdtrc(between, within, f)) if np.isfinite(f) else 0.0,
        between_freedom=between,
        within_freedom=within,
        between_sd=float(mean.std(ddof=1)),
        within_sd=float(((n - 1) * variance).sum() / (n - 1).sum()) ** 0.5,
        blocks=shared,
        settings=settings,
    )


def _complete(numbers: Floats, codes: NDArray[np.intp], seeds: NDArray[np.intp]) -> Floats:
    """(settings, seeds) over the seeds that every setting has."""
    settings = int(codes.max()) + 1
    pairs = np.unique(np.stack([seeds, codes]), axis=1)
    found, counts = np.unique(pairs[0], return_counts=True)
    everywhere = found[counts == settings]
    kept = np.isin(seeds, everywhere)
    table = np.empty((settings, everywhere.size))
    table[codes[kept], np.searchsorted(everywhere, seeds[kept])] = numbers[kept]
    return table


def _blocked(table: Floats) -> tuple[float, float, float]:
    """F and its degrees of freedom over (settings, seeds), seeds as blocks."""
    settings, seeds = table.shape
    rest = table - table.mean(axis=0)
    means = rest.mean(axis=1)
    rest = rest - means[:, None]
    between = seeds * float((means**2).sum()) / (settings - 1)
    within = float((rest**2).sum()) / ((settings - 1) * (seeds - 1))
    if not within:
        return np.inf if between else 0.0, settings - 1.0, (settings - 1.0) * (seeds - 1)
    # The rest of setting i varies by s_i (1 - 2/k) + sum(s) / k^2, where s are the settings' own variances.
    each = (rest**2).sum(axis=1) / (seeds - 1)
    total = each.sum() * settings / (settings - 1)
    own = np.maximum((each - total / settings**2) / (1 - 2 / settings), 0.0) if settings > 2 else each
    trace = own.sum() * (settings - 1) / settings
    squares = (own**2).sum() * (1 - 2 / settings) + (own.sum() / settings) ** 2
    freedom = float(np.clip(trace**2 / squares, 1.0, settings - 1.0))
    return between / within, freedom, freedom * (seeds - 1)


def _unblocked(n: NDArray[np.intp], mean: Floats, variance: Floats) -> tuple[float, float, float]:
    """F and its degrees of freedom where no seeds are shared."""
    share = n / n.sum()
    between = float((n * (mean - share @ mean) ** 2).sum())
    parts = (1 - share) * variance
    within = float(parts.sum())
    if not within:
        return np.inf if between else 0.0, n.size - 1.0, float((n - 1).sum())
    squares = (variance**2).sum() + (share @ variance) ** 2 - 2 * (share @ variance**2)
    return between / within, within**2 / float(squares), within**2 / float((parts**2 / (n - 1)).sum())


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Paired t-test of `n` differences: effect (their mean), 95 % t-interval, two-sided p."""

    n: int
    effect: float
    sd: float
    low: float
    high: float
    p: float


def paired_test(differences: ArrayLike, overlap: float = 0.0) -> PairedTest:
    """Student's paired t-test, over folds the corrected one; sd, interval and p are NaN for a single pair.

    Args:
        differences: (n,) finite numbers, n >= 1.
        overlap: as in `describe`.
    """
    d = np.asarray(differences, dtype=float)
    effect = float(d.mean())
    if d.size < 2:
        return PairedTest(n=1, effect=effect, sd=np.nan, low=np.nan, high=np.nan, p=np.nan)
    if not np.ptp(d):  # without spread t has no value
        return PairedTest(n=d.size, effect=effect, sd=0.0, low=effect, high=effect, p=0.0 if effect else 1.0)
    sd = float(d.std(ddof=1))
    se = sd * (1 / d.size + overlap) ** 0.5
    reach = float(quantile_t(d.size - 1)) * se
    p = 2 * float(special.stdtr(d.size - 1, -abs(effect) / se))
    return PairedTest(n=d.size, effect=effect, sd=sd, low=effect - reach, high=effect + reach, p=p)


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

    By the noncentral t distribution. Infinite for no effect, NaN for an unknown sd.

    Args:
        effect: mean of the differences. sd: their standard deviation.
    """
    return _needed(effect, sd, lambda n: (n - 1, n**0.5))


def runs_needed(effect: float, sd: float) -> float:
    """Runs of each of two settings, without shared seeds, that find `effect` likewise: 28 for 0.1 at an sd of 0.13.

    Args:
        effect: difference of the settings' means. sd: of one run of either.
    """
    return _needed(effect, sd, lambda n: (2 * n - 2, (n / 2) ** 0.5))


def _needed(effect: float, sd: float, freedom_and_root: Callable[[int], tuple[int, float]]) -> float:
    """The smallest n >= 2 of power POWER; `freedom_and_root` of n gives degrees of freedom, and sd over the standard
    error."""
    if not np.isfinite(sd) or not np.isfinite(effect):
        return float("nan")
    if effect == 0:
        return float("inf")
    if sd == 0:
        return 2.0

    def suffices(n: int) -> bool:
        freedom, root = freedom_and_root(n)
        shift = min(abs(effect) / sd * root, 30.0)  # from where on the power is 1, and the series does not converge
        limit = float(quantile_t(freedom))
        return bool(1 - special.nctdtr(freedom, shift, limit) + special.nctdtr(freedom, shift, -limit) >= POWER)

    low, high = 1, 2
    while not suffices(high):
        low, high = high, 2 * high
        if high > 10_000_000:
            return float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return float(high)
