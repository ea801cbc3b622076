"""How often the summary sees a difference where there is none: `python -m benchmarks.false_alarms [SWEEPS]`.

Each row draws sweeps of settings that are all equally good, whose runs spread equally or not, with and without
something that a seed does to all settings alike (three times as large as a run's own spread), and counts p < 0.05: of
the summary's test with seeds as blocks, of the same where seeds are not shared, and of the textbook's one-way analysis
of variance.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from cifarlab.summary.statistics import spread_test

SPREADS = {
    "equal": lambda k: np.ones(k),
    "1 to 4": lambda k: np.linspace(1, 4, k),
    "half of them 3": lambda k: np.where(np.arange(k) % 2, 3.0, 1.0),
    "one of them 5": lambda k: np.r_[5.0, np.ones(k - 1)],
}
SIZES = ((2, 5), (4, 2), (4, 3), (4, 5), (12, 2), (12, 3), (12, 5), (12, 10))
COMMON = (0.0, 3.0)


def sweeps(settings: int, seeds: int, spread: str, common: float, count: int) -> Iterator[np.ndarray]:
    """Accuracies (settings, seeds) without any true difference."""
    draw = np.random.default_rng([settings, seeds, int(common), len(spread)])
    for _ in range(count):
        own = draw.normal(size=(settings, seeds)) * SPREADS[spread](settings)[:, None]
        yield 0.9 + 0.001 * (own + common * draw.normal(size=seeds))


def one_way(table: np.ndarray) -> float:
    """The textbook's p."""
    from scipy import stats

    return float(stats.f_oneway(*table).pvalue)


def alarms(settings: int, seeds: int, spread: str, common: float, count: int) -> tuple[float, float, float]:
    """Rates of p < 0.05: seeds as blocks, seeds unknown, one-way analysis of variance."""
    codes, places = np.divmod(np.arange(settings * seeds), seeds)
    found = []
    for table in sweeps(settings, seeds, spread, common, count):
        blocked, apart = spread_test(table.ravel(), codes, places), spread_test(table.ravel(), codes)
        assert blocked is not None
        assert apart is not None
        found.append((blocked.p < 0.05, apart.p < 0.05, one_way(table) < 0.05))
    blocked_rate, apart_rate, one_way_rate = np.mean(found, axis=0)
    return float(blocked_rate), float(apart_rate), float(one_way_rate)


def main() -> None:
    """Print the rates."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{'settings':>8} {'seeds':>5} {'spreads':>15} {'common':>6} {'blocks':>7} {'apart':>7} {'one-way':>7}")
    for settings, seeds in SIZES:
        for spread in SPREADS:
            for common in COMMON:
                rates = " ".join(f"{rate:7.3f}" for rate in alarms(settings, seeds, spread, common, count))
                print(f"{settings:8} {seeds:5} {spread:>15} {common:6.0f} {rates}")


if __name__ == "__main__":
    main()
