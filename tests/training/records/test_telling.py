"""What a run says on the terminal."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cifarlab.heartbeat import how_far
from cifarlab.result import Identity, Status
from cifarlab.training.recipe import Recipe
from cifarlab.training.records.telling import epoch_line, opening


def test_an_epoch_is_a_line_with_train_and_val_side_by_side():
    row = {"epoch": 3, "train/loss": 0.5, "train/acc": 0.81234, "val/loss": 0.6, "val/acc": 0.79}
    row |= {"lr": 0.0731, "seconds": 12.44}
    line = (
        "epoch  4/12   train/acc 0.8123  val/acc 0.7900   train/loss 0.5000  val/loss 0.6000   lr 0.0731   after 12.4 s"
    )
    assert epoch_line(row, 12) == line
    no_val = {name: value for name, value in row.items() if not name.startswith("val/")}
    assert epoch_line(no_val, 4) == "epoch 4/4   train/acc 0.8123   train/loss 0.5000   lr 0.0731   after 12.4 s"


def test_the_first_lines_say_what_is_trained_where():
    knobs = {"model": "tiny_vgg", "data": "digits", "optimizer": "sgd", "lr": 0.1, "batch_size": 128}
    sizes = {"train": 1294, "val": 144, "test": 359}
    text = opening(
        Path("outputs/x"), knobs=knobs, parameters=591274, sizes=sizes, device="cpu (2 threads)", precision="32"
    )
    assert text.splitlines() == [
        "model     tiny_vgg, 591,274 parameters",
        "data      digits: train 1,294, val 144, test 359",
        "training  optimizer sgd, lr 0.1, batch_size 128",
        "device    cpu (2 threads), precision 32",
        "directory outputs/x",
    ]


def test_what_a_run_says_is_what_its_history_holds(small_run, tmp_path, capsys: pytest.CaptureFixture[str]):
    seen: list[str | None] = []

    def watch(epoch: int, measured: object) -> bool:
        seen.append(how_far(tmp_path / "aloud"))
        return False

    knobs = Identity(key="0" * 16, group="1" * 16, knobs={"model": "linear", "data": "digits"})
    result = small_run(tmp_path / "aloud", identity=knobs, recipe=Recipe(epochs=2), watch=watch)
    said = capsys.readouterr().out.splitlines()
    assert result.status == Status.FINISHED
    assert said[:2] == ["model     linear, 1,930 parameters", "data      digits: train 200, val 144, test 200"]
    rows = list(csv.DictReader((tmp_path / "aloud" / "history.csv").open()))
    for number, row in enumerate(rows, 1):
        pair = f"epoch {number}/2   train/acc {float(row['train/acc']):.4f}  val/acc {float(row['val/acc']):.4f}   "
        assert len([line for line in said if line.startswith(pair)]) == 1
    assert seen[0] is not None
    assert seen[0].startswith("running, epoch ")
    assert how_far(tmp_path / "aloud") is None
    small_run(tmp_path / "quiet", aloud=False)
    assert capsys.readouterr().out == ""
