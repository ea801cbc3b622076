"""Paired comparison over shared seeds, against scipy's paired t-test."""

import math

import pandas as pd
import pytest
from scipy import stats

from cifarlab.summary import load, summarize
from cifarlab.summary.arrange import differences_of
from cifarlab.summary.comparison import compare, trend
from cifarlab.summary.load import read_sweep
from cifarlab.summary.plots import compared

AXES = {"blocks": [1, 3, 5], "kernel_size": [2, 3], "seed": [0, 1, 2]}


def test_pairs_are_seeds_averaged_over_every_other_axis(make_sweep):
    sweep = make_sweep(AXES)
    table = compare(read_sweep(sweep), "blocks").set_index(["a", "b"])
    means = load(sweep).pivot_table(index="seed", columns="blocks", values="val/acc")
    raw = {}
    for a, b in ((1, 3), (1, 5), (3, 5)):
        reference = stats.ttest_rel(means[b], means[a])
        row = table.loc[(str(a), str(b))]
        raw[a, b] = reference.pvalue
        assert (row["over"], row["pairs"], row["settings"]) == ("seeds", 3, 2)
        assert row["effect"] == pytest.approx((means[b] - means[a]).mean())
        assert row["p"] == pytest.approx(reference.pvalue)
        interval = reference.confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    smallest = min(raw, key=raw.get)
    assert table.loc[tuple(map(str, smallest)), "p_holm"] == pytest.approx(min(1, 3 * raw[smallest]))


def test_against_one_value_there_are_fewer_pairs_and_less_to_correct_for(make_sweep):
    sweep = read_sweep(make_sweep(AXES))
    every = compare(sweep, "blocks").set_index(["a", "b"])
    some = compare(sweep, "blocks", against="3").set_index(["a", "b"])
    assert list(some.index) == [("3", "1"), ("3", "5")]
    assert some.loc[("3", "1"), "effect"] == pytest.approx(-every.loc[("1", "3"), "effect"])
    assert some.loc[("3", "1"), "p"] == pytest.approx(every.loc[("1", "3"), "p"])
    assert some["p_holm"].min() == pytest.approx(min(1, 2 * some["p"].min()))
    with pytest.raises(ValueError, match="against=4: not a value of blocks, which has 1, 3, 5"):
        compare(sweep, "blocks", against="4")


def test_a_trend_is_the_slope_over_places_of_each_seed(make_sweep):
    sweep = make_sweep(AXES)
    found = trend(read_sweep(sweep), "blocks")
    means = load(sweep).pivot_table(index="seed", columns="blocks", values="val/acc")
    slopes = [stats.linregress([0, 1, 2], means.loc[seed]).slope for seed in means.index]
    reference = stats.ttest_1samp(slopes, 0.0)
    interval = reference.confidence_interval(0.95)
    assert (found.values, found.settings, found.test.n) == (("1", "3", "5"), 2, 3)
    assert found.test.effect == pytest.approx(sum(slopes) / 3)
    assert (found.test.low, found.test.high, found.test.p) == pytest.approx(
        (interval.low, interval.high, reference.pvalue)
    )
    assert "From each value of blocks (1, 3, 5) to the next, val/acc changes by" in str(found)


@pytest.mark.parametrize(
    "axes",
    [
        {"blocks": [1, 3], "seed": [0, 1, 2]},  # two values are a pair
        {"optimizer": ["adam", "muon", "sgd"], "seed": [0, 1, 2]},  # words have no order
        {"blocks": [1, 3, 5], "seed": [0, 1]},  # of two slopes no interval is worth saying
        {"blocks": [1, 3, 5], "kernel_size": [2, 3]},  # settings are no seeds
    ],
)
def test_there_is_no_trend_over_words_few_values_or_few_seeds(make_sweep, axes):
    assert trend(read_sweep(make_sweep(axes)), next(iter(axes))) is None


def test_a_trend_stands_wherever_a_comparison_was_asked_for(make_sweep):
    sweep = make_sweep(AXES)
    summarize(sweep, compare="blocks")
    said = "From each value of blocks (1, 3, 5) to the next, val/acc changes by"
    assert said in (sweep / "summary" / "summary.md").read_text()
    assert said in (sweep / "summary" / "index.html").read_text()


def test_it_is_said_where_another_axis_turns_the_effect(tmp_path, make_run):
    """LeakyReLU helps under Adam by less than it harms under SGD: on average it harms, and in one setting of two."""
    for optimizer, gain in (("adam", 0.02), ("sgd", -0.08)):
        for activation in ("leaky_relu", "tanh"):
            for seed in range(3):
                accuracy = 0.5 + 0.001 * seed * (activation == "tanh") + gain * (activation == "leaky_relu")
                knobs = {"optimizer": optimizer, "activation": activation, "seed": seed}
                make_run(tmp_path / f"{optimizer}-{activation}-{seed}", knobs, accuracy)
    (row,) = compare(read_sweep(tmp_path), "activation", against="tanh").to_dict("records")
    assert row["effect"] == pytest.approx(-0.031)
    assert (row["settings"], row["alike"]) == (2, 1)
    (other,) = compare(read_sweep(tmp_path), "optimizer", against="adam").to_dict("records")
    assert (other["settings"], other["alike"]) == (2, 1)  # under Tanh the optimizers are level


def test_a_figure_shows_the_pairs_with_their_intervals(make_sweep):
    table = compare(read_sweep(make_sweep(AXES)), "blocks")
    data = differences_of(table)
    assert list(data.names) == ["3 \N{MINUS SIGN} 1", "5 \N{MINUS SIGN} 1", "5 \N{MINUS SIGN} 3"]
    assert data.effects.tolist() == table["effect"].tolist()
    assert (data.lows.tolist(), data.highs.tolist()) == (table["low"].tolist(), table["high"].tolist())
    assert data.note == "95 % intervals of the paired t-test over 3 seeds"
    assert len(compared(pd.concat([table] * 30)).axes[0].texts) == 45


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (["kernel_size-2+seed-0"], (2, 2)),  # seed 0 is left out, both settings stay
        (["kernel_size-2+seed-0", "kernel_size-2+seed-1"], (3, 1)),  # the setting is left out, all seeds stay
    ],
)
def test_means_of_seeds_go_over_the_same_settings(make_sweep, alter, failed, expected):
    sweep = make_sweep(AXES, lambda k: 0.5 + 0.01 * k["blocks"] + 0.1 * (k["kernel_size"] == 3) + 0.01 * k["seed"])
    for name in failed:
        alter(sweep / f"blocks-1+{name}", status="failed")
    row = compare(read_sweep(sweep), "blocks").set_index(["a", "b"]).loc[("1", "3")]
    assert (row["pairs"], row["settings"]) == expected
    assert row["effect"] == pytest.approx(0.02)


def test_with_one_seed_the_pairs_are_settings_and_say_so(make_sweep):
    sweep = make_sweep({"blocks": [1, 3], "kernel_size": [2, 3, 4]})
    (row,) = compare(read_sweep(sweep), "blocks").to_dict("records")
    assert (row["over"], row["pairs"], row["settings"]) == ("settings", 3, 3)
    assert math.isnan(row["seeds_needed"])


def test_seeds_needed_are_those_of_the_means_over_settings(make_sweep):
    noise = {0: -0.01, 1: 0.0, 2: 0.01}
    sweep = make_sweep(AXES, lambda k: 0.5 + 0.01 * k["blocks"] + (noise[k["seed"]] if k["blocks"] == 5 else 0))
    row = compare(read_sweep(sweep), "blocks").set_index(["a", "b"]).loc[("3", "5")]
    assert row["effect"] == pytest.approx(0.02)
    # An effect of two standard deviations: the noncentral t has a power of 0.75 with four seeds, 0.91 with five.
    assert row["seeds_needed"] == 5


def test_unknown_knobs_are_refused_with_the_nearest(make_sweep):
    sweep = read_sweep(make_sweep(AXES))
    with pytest.raises(ValueError, match=r"compare=blokcs.*blocks, kernel_size; did you mean blocks\?"):
        compare(sweep, "blokcs")
    with pytest.raises(ValueError, match="not a knob with two values"):
        compare(sweep, "seed")


def test_without_a_shared_seed_there_is_no_pair(tmp_path, make_run):
    for blocks, seed in ((1, 0), (2, 1)):
        make_run(tmp_path / f"blocks-{blocks}", {"blocks": blocks, "seed": seed}, 0.5)
    with pytest.raises(ValueError, match="no two finished runs differ in blocks and share seed"):
        compare(read_sweep(tmp_path), "blocks")
