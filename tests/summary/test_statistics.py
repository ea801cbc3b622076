"""Statistics against scipy.stats and numpy, computed another way."""

import math

import numpy as np
import pytest
from scipy import stats

from cifarlab.summary.statistics import describe, holm, paired_test, pairs_needed, spread_test


def test_describe_agrees_with_scipy_group_by_group():
    draw = np.random.default_rng(1)
    groups = np.repeat([0, 1, 3], [5, 1, 3])
    values = draw.normal(0.8, 0.05, groups.size)
    found = describe(np.append(values, np.nan), np.append(groups, 3), 4)
    assert found["n"].tolist() == [5, 1, 0, 3]
    for group in (0, 3):
        sample = values[groups == group]
        low, high = stats.t.interval(0.95, len(sample) - 1, loc=sample.mean(), scale=stats.sem(sample))
        expected = [sample.mean(), sample.std(ddof=1), stats.sem(sample), low, high, sample.min(), sample.max()]
        got = [found[name][group] for name in ("mean", "sd", "se", "low", "high", "min", "max")]
        assert got == pytest.approx(expected, rel=1e-12)
    assert found["mean"][1] == values[5]
    assert all(math.isnan(found[name][1]) for name in ("sd", "se", "low", "high"))
    assert all(math.isnan(found[name][2]) for name in ("mean", "min", "max"))


def test_an_interval_stays_within_bounds_and_wants_three_values():
    values = [0.9, 0.99, 0.99, 0.5, 0.6, 0.7, 0.4, 0.5]
    found = describe(values, [0, 0, 0, 1, 1, 1, 2, 2], 3, (0.0, 1.0))
    # 0.96 and 0.6 with standard errors of 0.03 and 0.0577, times 4.303.
    assert found["low"][:2] == pytest.approx([0.8309, 0.3516], abs=1e-4)
    assert found["high"][:2] == pytest.approx([1.0, 0.8484], abs=1e-4)
    assert np.isnan([found["low"][2], found["high"][2]]).all()
    assert found["sd"][2] == pytest.approx(0.1 / math.sqrt(2))


@pytest.mark.parametrize("size", [3, 5])
def test_intervals_of_accuracies_near_the_bound_hold_what_they_say(size):
    """20,000 settings with a true mean of 0.97 and a skewed spread of 0.01: 95 % of the intervals contain it."""
    mean, spread = 0.97, 0.01
    total = mean * (1 - mean) / spread**2 - 1
    values = np.random.default_rng(4).beta(mean * total, (1 - mean) * total, 20_000 * size)
    found = describe(values, np.repeat(np.arange(20_000), size), 20_000, (0.0, 1.0))
    assert np.mean((found["low"] <= mean) & (mean <= found["high"])) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_spread_test_agrees_with_scipys_anova(shift):
    draw = np.random.default_rng(2)
    samples = [draw.normal(0.5 + shift * group, 0.1, size) for group, size in enumerate((3, 4, 5))]
    f, p = stats.f_oneway(*samples)
    found = spread_test(np.concatenate(samples), np.repeat([7, 8, 9], [3, 4, 5]))
    assert (found.f, found.p) == pytest.approx((f, p))
    assert found.within_noise == (p >= 0.05)
    assert (found.between_freedom, found.within_freedom) == (2, 9)


def test_spread_test_needs_two_settings_and_a_repetition():
    assert spread_test([0.1, 0.2, 0.3], [0, 1, 2]) is None
    assert spread_test([0.1, 0.2, 0.3], [0, 0, 0]) is None
    assert spread_test([0.5, 0.5, 0.6, 0.6], [0, 0, 1, 1]).p == 0


def test_paired_test_agrees_with_scipy():
    draw = np.random.default_rng(3)
    a, b = draw.normal(0.5, 0.1, 8), draw.normal(0.55, 0.1, 8)
    reference = stats.ttest_rel(b, a)
    found = paired_test(b - a)
    interval = reference.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((reference.pvalue, interval.low, interval.high))
    assert found.effect == pytest.approx((b - a).mean())
    assert math.isnan(paired_test([0.1]).p)
    assert paired_test([0.1, 0.1, 0.1]).p == 0.0
    assert paired_test([0.0, 0.0]).p == 1.0


def test_holm_on_a_worked_example():
    # Sorted .005 .01 .03 .04 times 4 3 2 1, made monotone: .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, np.nan, 0.6])[[0, 2]].tolist() == pytest.approx([0.02, 0.6])
    assert holm([0.7, 0.8]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("effect", "sd"), [(0.1, 0.12), (0.05, 0.1), (-0.3, 0.4)])
def test_pairs_needed_gives_eighty_per_cent_power(effect, sd):
    """The power of the paired t-test is that of the noncentral t: at n it is 80 %, well below n it is not."""

    def power(n):
        limit = stats.t.ppf(0.975, n - 1)
        shift = abs(effect) / sd * math.sqrt(n)
        return stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)

    n = pairs_needed(effect, sd)
    assert power(n) == pytest.approx(0.8, abs=0.025)
    assert power(n - 3) < 0.8


def test_pairs_needed_at_the_edges():
    assert pairs_needed(0.0, 0.1) == math.inf
    assert math.isnan(pairs_needed(0.1, math.nan))
