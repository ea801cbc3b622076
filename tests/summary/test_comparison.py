"""Paired comparison over shared seeds, against scipy's paired t-test."""

import pytest
from scipy import stats

from cifarlab.summary import load
from cifarlab.summary.comparison import compare
from cifarlab.summary.load import read_sweep

AXES = {"blocks": [1, 3, 5], "kernel_size": [2, 3], "seed": [0, 1, 2]}


def test_pairs_share_seed_and_every_other_axis(make_sweep, alter):
    sweep = make_sweep(AXES)
    alter(sweep / "blocks-1+kernel_size-2+seed-0", status="failed")
    table = compare(read_sweep(sweep), "blocks").set_index(["a", "b"])
    runs = load(sweep)
    grid = runs[runs.status == "finished"].pivot(index=["kernel_size", "seed"], columns="blocks", values="val/acc")
    raw = {}
    for a, b in ((1, 3), (1, 5), (3, 5)):
        both = grid[[a, b]].dropna()
        reference = stats.ttest_rel(both[b], both[a])
        row = table.loc[(str(a), str(b))]
        raw[a, b] = reference.pvalue
        assert row["pairs"] == len(both) == (6 if a == 3 else 5)
        assert row["settings"] == 2
        assert row["effect"] == pytest.approx((both[b] - both[a]).mean())
        assert row["p"] == pytest.approx(reference.pvalue)
        interval = reference.confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    smallest = min(raw, key=raw.get)
    assert table.loc[tuple(map(str, smallest)), "p_holm"] == pytest.approx(min(1, 3 * raw[smallest]))


def test_seeds_needed_spreads_pairs_over_settings(make_sweep):
    noise = {0: -0.01, 1: 0.0, 2: 0.01}
    sweep = make_sweep(AXES, lambda k: 0.5 + 0.01 * k["blocks"] + (noise[k["seed"]] if k["blocks"] == 5 else 0))
    row = compare(read_sweep(sweep), "blocks").set_index(["a", "b"]).loc[("3", "5")]
    # sd 0.00894 of six differences -.01 0 .01 around 0.02: (2.80 * 0.447)^2 + 1.92 = 3.49, so 4 pairs, 2 seeds.
    assert row["effect"] == pytest.approx(0.02)
    assert (row["pairs_needed"], row["seeds_needed"]) == (4, 2)


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
