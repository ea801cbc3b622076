"""`load`: a row a job, whatever state the jobs are in."""

import json
import shutil

import pytest

from cifarlab.heartbeat import Heartbeat
from cifarlab.summary import load
from cifarlab.summary.load import NothingFound, read_sweep

AXES = {"blocks": [1, 3, 10], "kernel_size": [2, 3], "seed": [0, 1]}


def test_a_row_a_job_with_knobs_metrics_and_times(make_sweep):
    table = load(make_sweep(AXES, lambda knobs: 0.1 * knobs["kernel_size"] + 0.01 * knobs["seed"]))
    assert len(table) == 12
    row = table[(table.blocks == 3) & (table.kernel_size == 2) & (table.seed == 1)].iloc[0]
    assert row["name"] == "blocks-3+kernel_size-2+seed-1"
    assert row["status"] == "finished"
    assert row["val/acc"] == pytest.approx(0.21)
    assert row["test/acc"] == pytest.approx(0.20)
    assert row["seconds_total"] == pytest.approx(10.21)
    assert list(table.columns[:7]) == ["name", "status", "key", "group", "seed", "blocks", "kernel_size"]


def test_planned_cells_without_result_are_missing(make_sweep):
    sweep = make_sweep(AXES)
    shutil.rmtree(sweep / "blocks-1+kernel_size-2+seed-0")  # never started
    (sweep / "blocks-3+kernel_size-2+seed-1" / "result.json").unlink()  # killed
    (sweep / "blocks-3+kernel_size-3+seed-1" / "result.json").write_text('{"schema": 1, "sta')  # damaged
    table = load(sweep).set_index("name")
    missing = table[table.status == "missing"]
    assert sorted(missing.index) == [
        "blocks-1+kernel_size-2+seed-0",
        "blocks-3+kernel_size-2+seed-1",
        "blocks-3+kernel_size-3+seed-1",
    ]
    assert missing.loc["blocks-3+kernel_size-2+seed-1", ["blocks", "kernel_size", "seed"]].tolist() == [3, 2, 1]
    assert "cannot be read" in missing.loc["blocks-3+kernel_size-3+seed-1", "error"]
    assert table.loc["blocks-3+kernel_size-2+seed-0", "group"] == missing.loc["blocks-3+kernel_size-2+seed-1", "group"]
    assert table["parameters"].dropna().tolist() == [1000] * 9
    assert str(table["parameters"].dtype) == "Int64"


def test_a_ledger_with_knobs_tells_of_cells_without_result_what_results_would(make_sweep, alter):
    """Schema 2: the cells' knobs and seed are read, and no override's text."""
    sweep = make_sweep({"augment": ["crop+flip", "none"], "model.blocks": [3, 1], "seed": [0, 1]})
    plan = json.loads((sweep / "sweep.json").read_text())
    for cell in plan["cells"]:
        result = json.loads((sweep / cell["name"] / "result.json").read_text())
        knobs = {name.removeprefix("model."): value for name, value in result["knobs"].items()} | {"dropout": None}
        alter(sweep / cell["name"], knobs=knobs)
        cell.update(knobs=knobs, seed=result["seed"], overrides=["augment=[crop,flip]", "model.blocks=${typed}"])
    axes = {"augment": ["[crop,flip]", "none"], "model.blocks": ["3", "1"], "seed": ["0", "1"]}
    (sweep / "sweep.json").write_text(json.dumps(plan | {"schema": 2, "axes": axes}))
    whole = read_sweep(sweep)
    for cell in plan["cells"][::2]:
        shutil.rmtree(sweep / cell["name"])
    read = read_sweep(sweep)
    assert read.axes == ("augment", "blocks")
    assert read.labels("augment") == ["crop+flip", "none"]
    known = ["seed", "augment", "blocks", "dropout", "epochs", "group"]
    assert read.runs[known].equals(whole.runs[known])
    assert read.runs["status"].tolist() == ["missing", "finished"] * 4


def test_values_sort_as_numbers_and_words_as_written(make_sweep):
    sweep = read_sweep(make_sweep({"blocks": [10, 9, 1], "activation": ["relu", "gelu"]}))
    assert sweep.labels("blocks") == ["1", "9", "10"]
    assert sweep.labels("activation") == ["relu", "gelu"]
    assert sweep.axes == ("blocks", "activation")


def test_a_folder_of_single_runs_takes_the_knobs_that_vary(tmp_path, make_run):
    for number, (lr, width) in enumerate([(0.1, 64), (0.01, 64), (0.001, 64)]):
        make_run(tmp_path / f"run{number}", {"lr": lr, "width": width, "momentum": 9 * lr}, 0.5)
    sweep = read_sweep(tmp_path)
    # momentum follows lr one to one, so it tells nothing that lr does not.
    assert sweep.axes == ("lr",)
    assert sweep.knobs == ("lr", "momentum")
    assert len(sweep.runs["group"].unique()) == 3


def test_a_knob_that_the_axes_determine_is_no_axis_even_if_a_run_is_missing(make_sweep, alter):
    sweep = make_sweep({"optimizer": ["sgd", "adam"], "seed": [0, 1]})
    for run in sweep.glob("optimizer-*"):
        knobs = {"optimizer": "adam" if "adam" in run.name else "sgd"}
        alter(run, knobs=knobs | ({"beta": 0.9} if "adam" in run.name else {"beta": 0.8}))
    shutil.rmtree(sweep / "optimizer-adam+seed-1")
    assert read_sweep(sweep).axes == ("optimizer",)
    assert read_sweep(sweep).knobs == ("optimizer", "beta")


def test_an_axis_is_found_under_the_name_that_results_give_it(make_sweep):
    sweep = make_sweep({"blocks": [1, 2]})
    plan = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(plan | {"axes": {"model.blocks": ["1", "2"]}}))
    assert read_sweep(sweep).axes == ("blocks",)


def test_an_axis_that_no_result_records_is_read_from_overrides(make_sweep, alter):
    sweep = make_sweep({"augment": ["[crop,flip]", "none"]})
    for run in sweep.glob("augment-*"):
        alter(run, knobs={})
    assert sorted(load(sweep)["augment"]) == ["[crop,flip]", "none"]


def test_null_is_told_from_a_knob_that_a_run_lacks(tmp_path, make_run):
    make_run(tmp_path / "a", {"dropout": None}, 0.5)
    make_run(tmp_path / "b", {"dropout": 0.5}, 0.5)
    make_run(tmp_path / "c", {"other": 1}, 0.5)
    table = load(tmp_path).set_index("name")
    assert table.loc["a", "dropout"] == "null"
    assert table["dropout"].isna().tolist() == [False, False, True]


def test_columns_that_would_share_a_name_are_both_kept(tmp_path, make_run):
    make_run(
        tmp_path / "a", {"penalty": "elastic_net", "precision": "auto"}, 0.5, metrics={"penalty": 0.25, "val/acc": 0.5}
    )
    table = load(tmp_path)
    assert table.loc[0, "penalty"] == "elastic_net"
    assert table.loc[0, "metric.penalty"] == 0.25
    assert table.loc[0, ["precision", "result.precision"]].tolist() == ["auto", "32"]


def test_an_empty_or_wrong_directory_is_refused_with_what_is_expected(tmp_path, make_run):
    with pytest.raises(NothingFound, match=r"holds no run: expected subdirectories with a result\.json"):
        load(tmp_path)
    with pytest.raises(NothingFound, match="no directory"):
        load(tmp_path / "absent")
    make_run(tmp_path / "single", {"blocks": 1}, 0.5)
    with pytest.raises(NothingFound, match="single run; give the folder that holds the runs"):
        load(tmp_path / "single")


def test_a_cell_at_work_is_running_and_neither_missing_nor_lost(make_sweep):
    folder = make_sweep({"blocks": [1, 2], "seed": [0, 1]}, lambda knobs: 0.5)
    fresh, resumed, done = (folder / name for name in ("blocks-1+seed-0", "blocks-1+seed-1", "blocks-2+seed-0"))
    (fresh / "result.json").unlink()
    stopped = json.loads((resumed / "result.json").read_text()) | {"status": "interrupted"}
    (resumed / "result.json").write_text(json.dumps(stopped))
    for run in (fresh, resumed, done):  # `done` has written its result and not yet taken its heartbeat away
        Heartbeat(run, 12).beat(0)
    sweep = read_sweep(folder)
    assert sweep.runs["status"].tolist() == ["running, epoch 0/12"] * 2 + ["finished"] * 2
    assert sweep.states.tolist() == ["running", "running", "finished", "finished"]
    assert sweep.is_lost.tolist() == [False] * 4
