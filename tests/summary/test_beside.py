"""Several sweeps together, tables for papers, and a look at a sweep that goes on."""

import shutil

import pandas as pd
import pytest
from rich.console import Console

from cifarlab.summary.latex import escaped
from cifarlab.summary.load import NothingFound, read_sweep
from cifarlab.summary.watch import view, watch
from cifarlab.verbs.summarize import main

SCORES = {"a": 0.5, "b": 0.6}


@pytest.fixture
def two(make_sweep, alter):
    """Sweeps `a` and `b` over lr and seed, which differ in their epochs."""
    folders = []
    for place, (name, base) in enumerate(SCORES.items()):
        axes = {"lr": [0.1, 0.2], "seed": [0, 1, 2]}
        noise = {0: 0.001, 1: 0.004, 2: -0.002}
        folder = make_sweep(axes, lambda k, base=base, noise=noise: base + k["lr"] / 10 + noise[k["seed"]], name=name)
        for run in folder.glob("lr-*"):
            knobs = {"lr": float(run.name.split("+")[0][3:]), "depth": place}
            alter(run, key=f"{name}{run.name}", group=f"{name}{knobs['lr']}", knobs=knobs)
        folders.append(folder)
    return folders


def test_several_sweeps_are_summed_up_beside_each_other(two, capsys):
    assert main([*map(str, two), "compare=depth", "table=latex"]) == 0
    page = two[0].parent / "a+b" / "index.html"
    assert capsys.readouterr().out.rstrip().endswith(str(page))
    cells = pd.read_csv(page.parent / "cells.csv")
    assert cells[["lr", "depth", "n"]].to_numpy().tolist() == [[0.1, 0, 3], [0.2, 0, 3], [0.1, 1, 3], [0.2, 1, 3]]
    row = pd.read_csv(page.parent / "compare_depth.csv").iloc[0]
    assert (row["pairs"], row["settings"], round(row["effect"], 6)) == (3, 2, 0.1)
    assert 'href="../a/lr-0.1%2Bseed-0/"' in page.read_text()
    assert (two[0] / "lr-0.1+seed-0" / "result.json").is_file()
    assert not (two[0] / "summary").exists()


def test_a_run_that_two_sweeps_share_counts_once(two):
    shutil.copytree(two[0], two[0].parent / "copy")
    sweep = read_sweep(two[0], two[0].parent / "copy")
    assert (len(sweep.runs), int(sweep.is_finished.sum())) == (12, 6)
    with pytest.raises(NothingFound, match="the same as another"):
        read_sweep(two[0], two[0])


def test_the_table_for_a_paper(two):
    assert main([str(two[0]), "table=latex"]) == 0
    lines = (two[0] / "summary" / "table.tex").read_text().splitlines()
    assert lines[1:5] == [
        "\\begin{tabular}{lrrr}", "\\toprule", "lr & $n$ & validation accuracy & test accuracy \\\\", "\\midrule",
    ]  # fmt: skip
    # 0.52 + 0.001, 0.004, -0.002: mean 0.521, sd 0.003.
    assert lines[5] == "0.2 & 3 & $\\mathbf{0.5210 \\pm 0.0030}$ & $0.5110 \\pm 0.0030$ \\\\"
    assert lines[6] == "0.1 & 3 & $0.5110 \\pm 0.0030$ & $0.5010 \\pm 0.0030$ \\\\"
    assert lines[7:] == ["\\bottomrule", "\\end{tabular}"]
    assert escaped("a_b 5% \\x") == "a\\_b 5\\% \\textbackslash{}x"


def test_nothing_is_bold_that_rests_on_one_seed(make_sweep):
    sweep = make_sweep({"lr": [0.1, 0.2]})
    assert main([str(sweep), "table=latex"]) == 0
    assert "mathbf" not in (sweep / "summary" / "table.tex").read_text()


def test_a_running_sweep_is_watched_until_all_runs_have_ended(make_sweep):
    sweep = make_sweep({"lr": [0.1, 0.2, 0.3]}, lambda k: k["lr"])
    results = [sweep / f"lr-{lr}" / "result.json" for lr in (0.2, 0.3)]
    kept = [result.read_bytes() for result in results]
    for result in results:
        result.unlink()
    (sweep / "lr-0.3" / "history.csv").unlink()
    console, looks = Console(width=100, record=True), []
    with console.capture() as shown:
        console.print(view(read_sweep(sweep)))
    lines = [line.split() for line in shown.get().splitlines()]
    assert ["lr-0.1", "finished", "0.1000"] in lines
    assert ["lr-0.2", "running,", "3", "epochs", "done", "0.2000"] in lines
    assert ["lr-0.3", "running,", "0", "epochs", "done"] in lines

    def wait(_):
        results[len(looks)].write_bytes(kept[len(looks)])
        looks.append(1)

    watch(sweep, Console(quiet=True), wait)
    assert len(looks) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", "table=html"), "table=html: allowed: latex"),
        (("x", "y", "watch=true"), "watch=true looks at one"),
        ((), "none"),
    ],
)
def test_wrong_options_are_refused(arguments, said, capsys):
    assert main(list(arguments)) == 2
    assert said in capsys.readouterr().err
