"""`summarize` writes everything from whatever jobs exist."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

from cifarlab.summary import charts, plots, summarize

AXES = {"blocks": [1, 3, 5], "kernel_size": [2, 3, 4, 5], "seed": [0, 1]}


def test_imports_no_torch():
    modules = "cifarlab.summary, cifarlab.verbs.summarize, cifarlab.figures.confusion, cifarlab.figures.pictures"
    heavy = "{'torch', 'torchvision', 'lightning', 'timm', 'hydra'}"
    code = f"import sys, cifarlab.summary.page, cifarlab.summary.write, {modules}; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_cards_sweep_leaves_every_file_of_the_contract(make_sweep):
    sweep = make_sweep(AXES)
    page = summarize(sweep, compare="blocks", figures=["heatmap_kernel_size_blocks.png"])
    assert page == sweep / "summary" / "index.html"
    assert {path.name for path in page.parent.iterdir()} == {
        "runs.csv", "cells.csv", "summary.md", "index.html", "compare_blocks.csv", "compare_blocks.png", "curves.png",
        "cost.png", "heatmap_blocks_kernel_size.png", "heatmap_kernel_size_blocks.png", "marginal_blocks.png",
        "marginal_kernel_size.png",
    }  # fmt: skip
    for path in page.parent.glob("*.png"):
        with Image.open(path) as image:
            assert image.width > 300
            assert len(image.convert("RGB").getcolors(10**6)) > 10


def test_three_axes_add_the_grid_and_one_axis_needs_no_heatmap(make_sweep):
    three = make_sweep({"alpha": [0.2, 0.5], "lambda": [0.1, 0.01], "dropout": [0.1, 0.3]}, name="three")
    names = {path.stem for path in summarize(three).parent.glob("*.png")}
    assert {
        "grid3d_alpha_lambda_dropout",
        "heatmap_alpha_lambda",
        "heatmap_lambda_dropout",
        "marginal_dropout",
    } <= names
    one = make_sweep({"kernel_size": [2, 3, 4, 5]}, name="one")
    names = {path.stem for path in summarize(one).parent.glob("*.png")}
    assert names == {"marginal_kernel_size", "curves", "cost"}


def test_summary_md_reports_the_best_settings_test_value_once(make_sweep):
    sweep = make_sweep({"blocks": [1, 2], "seed": [0, 1, 2]}, lambda k: 0.5 + 0.1 * k["blocks"] + 0.01 * k["seed"])
    (sweep / "blocks-2+seed-0" / "environment.json").write_text(
        json.dumps({"packages": {"torch": "2.11.0"}, "git": {"commit": "0123456789abcdef", "dirty": False}})
    )
    shutil.copy(sweep / "blocks-2+seed-0" / "environment.json", sweep / "blocks-1+seed-0")
    text = (summarize(sweep).parent / "summary.md").read_text()
    assert "by mean validation accuracy: blocks=2." in text
    # Test values 0.69, 0.70 and 0.71: mean 0.70, sd 0.01, half width 4.303 * 0.01 / sqrt(3).
    assert text.count("0.7000 ± 0.0100 (95 % interval 0.6752 to 0.7248, n = 3)") == 1
    assert "on cpu, precision 32, torch 2.11.0, commit 0123456789" in text
    assert "0.6000" not in text


def test_two_seeds_are_said_to_be_too_few_for_an_interval(make_sweep):
    sweep = make_sweep({"blocks": [1, 2], "seed": [0, 1]}, lambda k: 0.5 + 0.1 * k["blocks"] + 0.02 * k["seed"])
    text = (summarize(sweep).parent / "summary.md").read_text()
    assert "Validation accuracy 0.7100 ± 0.0141 (n = 2: too few runs for an interval)." in text
    assert "| blocks | n | val/acc | sd | val/loss | seconds |" in text


def test_settings_that_diverged_keep_their_row_and_are_counted(make_sweep, alter):
    sweep = make_sweep({"lr": [0.1, 1, 10], "seed": [0, 1, 2]}, lambda k: 0.8 - 0.1 * k["lr"] + 0.01 * k["seed"])
    for seed in (0, 1, 2):
        alter(sweep / f"lr-10+seed-{seed}", status="diverged", metrics={}, seconds={})
    page = summarize(sweep)
    text = (page.parent / "summary.md").read_text()
    assert "Best of 3 settings, 1 of them without a finished run, by mean validation accuracy: lr=0.1." in text
    assert "\n| 10 | 0 | 3 |  |  |  |  |  |  |" in text
    assert "Best of 3 settings, 1 of them without a finished run, by mean validation accuracy" in page.read_text()
    charts = json.loads(page.read_text().split('id="charts">')[1].split("</script>")[0])
    assert charts["marginal"]["layout"]["xaxis"]["range"] == [-0.5, 2.5]


@pytest.mark.parametrize("damage", ["history", "failed", "missing", "one"])
def test_rebuilds_from_what_is_left(make_sweep, alter, damage):
    sweep = make_sweep({"blocks": [1, 2], "kernel_size": [2, 3]})
    runs = sorted(sweep.glob("blocks-*"))
    for run in runs[:3] if damage == "one" else runs:
        if damage == "history":
            (run / "history.csv").unlink()
        elif damage == "failed":
            alter(run, status="failed", metrics={}, seconds={}, error="Traceback\nRuntimeError: boom", parameters=None)
        else:
            shutil.rmtree(run)
    page = summarize(sweep)
    text = (page.parent / "summary.md").read_text()
    assert "heatmap_blocks_kernel_size.png" in text
    assert ("curves.png" in text) == (damage in ("failed", "one"))
    if damage in ("failed", "missing"):
        assert "Of 4 settings, 4 of them without a finished run, there is nothing to rank." in text
        assert "- blocks-1+kernel_size-2: " in text
    if damage == "failed":
        assert "failed: RuntimeError: boom" in text
        assert "RuntimeError: boom" in page.read_text()


def test_a_killed_runs_half_written_history_is_read(make_sweep):
    sweep = make_sweep({"blocks": [1, 2]})
    with (sweep / "blocks-1" / "history.csv").open("a") as file:
        file.write("3,0.2")
    assert (summarize(sweep).parent / "curves.png").exists()


def test_a_single_run_and_a_folder_without_plan(tmp_path, make_run):
    make_run(tmp_path / "only", {"blocks": 1}, 0.5)
    text = (summarize(tmp_path).parent / "summary.md").read_text()
    assert "1 runs: 1 finished" in text
    assert "n = 1" in text


def test_touches_nothing_else_and_leaves_no_temporary_file(make_sweep):
    sweep = make_sweep({"blocks": [1, 2]})
    notes = sweep / "summary" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    summarize(sweep)
    summarize(sweep)
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in (sweep / "summary").iterdir() if path.name.startswith(".")]


def test_unknown_figures_are_refused_with_the_known_names(make_sweep):
    sweep = make_sweep({"blocks": [1, 2], "kernel_size": [2, 3]}, figures=["marginal_block"])
    with pytest.raises(ValueError, match=r"no figure 'marginal_block'; did you mean marginal_blocks\? There is curves"):
        summarize(sweep)
    assert not (sweep / "summary").exists()


@pytest.mark.parametrize("broken", ["png", "chart"])
def test_a_picture_that_cannot_be_drawn_costs_no_table_and_no_page(make_sweep, monkeypatch, broken):
    def fail(*_):
        raise RuntimeError("no <font> left")

    monkeypatch.setattr(*{"png": (plots, "overlay", fail), "chart": (charts, "curves", fail)}[broken])
    folder = summarize(make_sweep({"blocks": [1, 2], "kernel_size": [2, 3], "seed": [0, 1]})).parent
    names = {path.stem for path in folder.glob("*.png")}
    others = {"heatmap_blocks_kernel_size", "marginal_blocks", "marginal_kernel_size", "cost"}
    assert names == others | ({"curves"} if broken == "chart" else set())
    page, text = (folder / "index.html").read_text(), (folder / "summary.md").read_text()
    said = {
        "png": "The figure curves could not be drawn: RuntimeError: no &lt;font&gt; left",
        "chart": "This chart could not be drawn: RuntimeError: no &lt;font&gt; left",
    }[broken]
    assert said in page
    drawn = json.loads(page.split('id="charts">')[1].split("</script>")[0])
    assert set(drawn) == {"heatmap", "marginal", "cost"} | ({"curves"} if broken == "png" else set())
    assert (said in text, "![curves](curves.png)" in text) == (broken == "png", broken == "chart")
    assert len((folder / "cells.csv").read_text().splitlines()) == 5


def test_figures_of_the_sweep_are_drawn_too(make_sweep):
    sweep = make_sweep({"blocks": [1, 2], "kernel_size": [2, 3]}, figures=["heatmap_kernel_size_blocks"])
    assert (summarize(sweep).parent / "heatmap_kernel_size_blocks.png").exists()


def test_markup_in_configs_stays_text_in_markdown(make_sweep):
    sweep = make_sweep({"note": ["a|b", "<script>alert(1)</script>"]}, name="m")
    text = (summarize(sweep).parent / "summary.md").read_text()
    assert "<script" not in text
    assert re.search(r"\| a\\\|b \| 1 \|", text)


def charts_of(page):
    """The charts embedded in a page, by the id of their place."""
    return json.loads(re.search(r'id="charts">(.*?)</script>', page, re.S)[1])


def test_data_sets_have_figures_and_charts_of_their_own(make_sweep, alter):
    worth = {"cifar10": 0.9, "cifar100": 0.6}
    axes = {"data": ["cifar10", "cifar100"], "lr": [0.01, 0.1], "width": [8, 16]}
    sweep = make_sweep(axes, score=lambda knobs: worth[knobs["data"]] + knobs["lr"] / 10)
    folder = summarize(sweep, figures=["heatmap_lr_width", "marginal_data"]).parent
    assert {path.stem for path in folder.glob("*.png")} == {
        "marginal_data",
        *(
            f"{name}+{data}"
            for name in ("heatmap_lr_width", "marginal_lr", "marginal_width", "cost", "curves")
            for data in worth
        ),
    }
    page = (folder / "index.html").read_text()
    drawn = charts_of(page)
    assert set(drawn) == {"heatmap", "heatmap-1", "marginal", "marginal-1", "curves", "curves-1", "cost", "cost-1"}
    means = [drawn[name]["data"][1]["y"] for name in ("marginal", "marginal-1")]
    assert means == [pytest.approx([0.901, 0.91]), pytest.approx([0.601, 0.61])]
    assert page.count("<h3>cifar100</h3>") == 5
    with pytest.raises(ValueError, match="this sweep has no figure 'marginal_batch'"):
        summarize(sweep, figures=["marginal_batch"])


def test_closed_gates_are_counted_in_both_tables(make_sweep, alter):
    sweep = make_sweep({"lambda": [0.004, 0.016], "seed": [0, 1]})
    for run in sweep.glob("lambda*"):
        closed = 6.0 if "0.016" in run.name else float(run.name[-1])
        metrics = json.loads((run / "result.json").read_text())["metrics"]
        alter(run, metrics=metrics | {"gates": 9.0, "closed_gates": closed})
    folder = summarize(sweep).parent
    cells = pd.read_csv(folder / "cells.csv")
    assert cells["closed_gates_mean"].tolist() == [0.5, 6.0]
    assert cells["gates_mean"].tolist() == [9.0, 9.0]
    text = (folder / "summary.md").read_text()
    assert "| closed gates | of gates |" in text
    assert "| 6 | 9 |" in text
