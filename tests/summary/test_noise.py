"""Which setting is better, in a sentence; folds and data sets."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cifarlab.summary import load, summarize, terminal
from cifarlab.summary.findings import find, verdict
from cifarlab.summary.load import Sweep, read_sweep
from cifarlab.summary.noise import leads, seed_noise, which_is_better
from cifarlab.summary.tables import cells_table, ranked

SEEDS = [0, 1, 2, 3, 4]


def sentence(sweep):
    cells = cells_table(sweep)
    return which_is_better(sweep, ranked(cells), seed_noise(sweep, cells))


def drawn(effects, noise=0.01, common=0.05, seed=3):
    """Scores of lr=i: an effect each, what a seed does to all, and noise."""
    draw = np.random.default_rng(seed)
    of_seed = draw.normal(0, common, len(SEEDS))
    own = draw.normal(0, noise, (len(effects), len(SEEDS)))
    return lambda k: 0.5 + effects[k["lr"]] + of_seed[k["seed"]] + own[k["lr"], k["seed"]]


def test_a_better_setting_is_named_with_its_lead_over_shared_seeds(make_sweep):
    sweep = read_sweep(make_sweep({"lr": [0, 1], "seed": SEEDS}, drawn([0.0, 0.08])))
    grid = load(sweep.directory).pivot(index="seed", columns="lr", values="val/acc")
    said = sentence(sweep)
    assert said.startswith(f"lr=1 is better than lr=0 by {(grid[1] - grid[0]).mean():.4f} (95 % interval ")
    assert "5 shared seeds), p = " in said


def test_what_cannot_be_told_is_said_with_the_seeds_that_would_tell(make_sweep):
    said = sentence(read_sweep(make_sweep({"lr": [0, 1, 2], "seed": SEEDS}, drawn([0.0, 0.001, 0.002]))))
    assert said.startswith("Which setting is better cannot be told: lr=")
    assert said.endswith(" seeds would tell.")


def test_a_best_that_beats_some_and_not_the_second(make_sweep):
    said = sentence(read_sweep(make_sweep({"lr": [0, 1, 2], "seed": SEEDS}, drawn([0.2, 0.2, 0.0]))))
    assert "is better than 1 of the 2 other settings, lr=2 first, by 0." in said
    assert "whether it is better than lr=" in said
    assert "cannot be told." in said


def test_one_seed_each_tells_nothing(make_sweep):
    assert "add seed=0,1,2" in sentence(read_sweep(make_sweep({"lr": [0, 1]})))
    assert sentence(read_sweep(make_sweep({"lr": [0], "seed": [0, 1]}, name="one"))) is None


def test_leads_are_corrected_for_their_number(make_sweep):
    sweep = read_sweep(make_sweep({"lr": [0, 1, 2], "seed": SEEDS}, drawn([0.0, 0.0, 0.1])))
    found = leads(sweep, ranked(cells_table(sweep)))
    raw = sorted(lead.test.p for lead in found)
    assert sorted(lead.p for lead in found) == pytest.approx([2 * raw[0], max(2 * raw[0], raw[1])])


def in_memory(table):
    """A sweep of (settings, seeds)."""
    codes, seeds = np.divmod(np.arange(table.size), table.shape[1])
    columns = {"status": "finished", "key": np.arange(table.size), "group": codes, "lr": codes, "seed": seeds}
    runs = pd.DataFrame(columns | {"val/acc": table.ravel()})
    words = {"name": "made up", "commands": (), "figures": (), "axes": ("lr",), "knobs": ("lr",)}
    return Sweep(directory=Path(), folder=Path(), runs=runs, **words)


def test_of_equal_settings_hardly_one_is_called_better():
    """Five seeds, each of which does something to all four settings alike."""
    draw, claims = np.random.default_rng(1), 0
    for _ in range(120):
        claims += " is better than " in sentence(in_memory(draw.normal(size=(4, 5)) + 3 * draw.normal(size=5)))
    assert claims / 120 <= 0.06


def test_folds_are_repetitions_of_a_setting(tmp_path, make_run):
    """Case: three folds of two rates are two settings of three runs, with the corrected interval."""
    for place, lr in enumerate((0.005, 0.01)):
        for k, score in enumerate((0.90, 0.92, 0.97)):
            knobs = {"lr": lr, "fold": f"{k + 1}/3", "folds": 3}
            make_run(tmp_path / f"fold-{k}+lr-{lr}", knobs, score - 0.1 * place, group=f"lr-{lr}")
    sweep = read_sweep(tmp_path)
    assert sweep.axes == ("lr",)
    cells = cells_table(sweep)
    assert cells["n"].tolist() == [3, 3]
    # sd 0.03606 times sqrt(1/3 + 1/2), and 4.303 of these either way.
    assert cells["val/acc_se"].to_numpy() == pytest.approx([0.032914] * 2, rel=1e-4)
    assert cells["val/acc_low"].min() == pytest.approx(0.83 - 4.302653 * 0.032914, abs=1e-5)
    text = (summarize(tmp_path).parent / "summary.md").read_text()
    assert "Nadeau and Bengio (2003)" in text
    assert "3 shared folds" in text


def test_a_run_that_is_there_twice_counts_once(tmp_path, make_run):
    for name in ("a", "b"):
        make_run(tmp_path / name, {"lr": 1, "seed": 0}, 0.5, key="same")
    make_run(tmp_path / "c", {"lr": 1, "seed": 1}, 0.6)
    assert cells_table(read_sweep(tmp_path))["n"].tolist() == [2]


def test_no_best_across_data_sets(tmp_path, make_run):
    for data, base, knob in (("digits", 0.9, "lr"), ("cifar10", 0.5, "width")):
        for value in (1, 2):
            make_run(tmp_path / f"{data}-{value}", {"data": data, knob: value}, base + 0.01 * value)
    sweep = read_sweep(tmp_path)
    found = find(sweep, cells_table(sweep), None, {})
    lines = verdict(found)
    assert found.best is None
    assert [line for line in lines if "Best of" in line] == [
        "cifar10: Best of 2 settings by mean validation accuracy: width=2.",
        "digits: Best of 2 settings by mean validation accuracy: lr=2.",
    ]
    folder = summarize(tmp_path).parent
    text, page = (folder / "summary.md").read_text(), (folder / "index.html").read_text()
    for data, knob in (("cifar10", "width"), ("digits", "lr")):
        assert f"## Settings: {data}\n\n| {knob} | n |" in text
        assert f"<h3>{data}</h3>" in page


def test_of_many_knobs_a_setting_is_said_by_those_that_it_has(tmp_path, make_run):
    """As in `outputs`, where every run may be of another model."""
    draw = np.random.default_rng(0)
    for place in range(12):
        knobs = {f"knob_{number}": int(draw.integers(2)) for number in range(9) if number != place}
        make_run(tmp_path / f"run-{place:02}", knobs, 0.5 + 0.01 * place)
    text = (summarize(tmp_path).parent / "summary.md").read_text()
    best = next(line for line in text.splitlines() if "| 1 | 0.61 |" in line)  # the last
    assert set(best.split(" | ")[0].removeprefix("| ").split()) == {f"{name}={knobs[name]}" for name in knobs}
    assert "knob_8=\u2013" not in text[text.index("## Settings") :]


@pytest.mark.parametrize("width", [60, 90, 140])
def test_the_terminal_cuts_no_name_and_no_number(tmp_path, make_run, monkeypatch, capsys, width):
    monkeypatch.setattr(terminal, "WIDE", width)
    names = [f"a_knob_of_some_length_{number}" for number in range(8)]
    draw = np.random.default_rng(1)
    for place in range(9):
        knobs = {name: int(draw.integers(2)) for name in names}
        make_run(tmp_path / f"run-{place}", knobs, 0.5 + 0.01 * place)
    sweep = read_sweep(tmp_path)
    terminal.report(find(sweep, cells_table(sweep), None, {}))
    shown = capsys.readouterr().out
    table = shown[shown.index("\u2503") : shown.index("\u2514")]
    assert all(name in table for name in [*names, "val/acc", "0.58", "0.57"])
    assert "\u2026" not in shown
