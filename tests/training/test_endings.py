"""The record first: what can still go wrong after it, and before the run has begun."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from cifarlab.figures.curves import curves
from cifarlab.result import Result
from cifarlab.training import run as runs
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.recipe import Recipe
from cifarlab.training.records import checkpoints
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.loggers import Loggers
from cifarlab.training.records.recorder import Recorder

SmallRun = Callable[..., Result]


def stored(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return values


def failing(*given: Any, **named: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["curves", "confusion"])
def test_a_picture_that_cannot_be_drawn_is_a_line_and_the_others_are_drawn(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setattr(f"cifarlab.figures.{name}.{name}", failing)
    result = small_run(tmp_path, figures=("curves", "confusion"))
    assert (result.status, stored(tmp_path)["status"]) == ("finished", "finished")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"figures={name} failed and the run goes on without it: OSError: [Errno 28] No space left on device"
    ]
    (other,) = (tmp_path / "figures").iterdir()
    assert other.stem in {"curves", "confusion"} - {name}
    assert (tmp_path / "report.txt").exists()


@pytest.mark.parametrize("method", ["__init__", "log_metrics", "log_hyperparams", "save", "finalize"])
def test_a_logger_that_fails_is_a_line_and_the_others_go_on(
    small_run: SmallRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    monkeypatch.setattr(CSVLogger, method, failing)
    result = small_run(tmp_path, loggers=Loggers(csv=True, tensorboard=True))
    assert (result.status, stored(tmp_path)["status"]) == ("finished", "finished")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "No space left" in said[0]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_record_then_loggers_then_figures_then_checkpoints(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool, bool]] = []

    def look(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*given: Any, **named: Any) -> Any:
            files = tmp_path / "result.json", tmp_path / "checkpoints" / "last.ckpt"
            seen.append((name, *(file.exists() for file in files)))
            return do(*given, **named)

        return looked

    monkeypatch.setattr(Result, "write", look("record", Result.write))
    monkeypatch.setattr(CSVLogger, "log_hyperparams", look("loggers", CSVLogger.log_hyperparams))
    monkeypatch.setattr("cifarlab.figures.curves.curves", look("figures", curves))
    monkeypatch.setattr(runs, "discard", look("discard", runs.discard))
    small_run(tmp_path, loggers=Loggers(csv=True), figures=("curves",), checkpoints="none")
    assert seen == [
        ("record", False, True), ("loggers", True, True), ("figures", True, True), ("discard", True, True),
    ]  # fmt: skip
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("last_words", ["log_hyperparams", "discard"])
def test_a_kill_after_the_record_leaves_a_finished_run(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_words: str
) -> None:
    class Killed(BaseException):
        """Nothing that a program could catch."""

    def kill(*given: Any, **named: Any) -> None:
        raise Killed

    where = CSVLogger if last_words == "log_hyperparams" else runs
    monkeypatch.setattr(where, last_words, kill)
    with pytest.raises(Killed):
        small_run(tmp_path, loggers=Loggers(csv=True), checkpoints="none")
    assert stored(tmp_path)["status"] == "finished"
    assert "test/acc" in stored(tmp_path)["metrics"]


def test_a_record_that_cannot_be_written_is_no_finished_run_and_costs_no_checkpoint(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Result, "write", failing)
    result = small_run(tmp_path, checkpoints="none")
    assert result.status == "failed"
    assert result.error == "result.json could not be written: [Errno 28] No space left on device"
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    monkeypatch.undo()
    assert small_run(tmp_path, checkpoints="none").status == "finished"


def test_a_trainer_that_cannot_be_built_leaves_a_record(small_run: SmallRun, tmp_path: Path) -> None:
    result = small_run(tmp_path, trainer=TrainerSettings(accelerator="cpu", strategy="no such thing"))
    assert result.status == "failed"
    assert "no such thing" in stored(tmp_path)["error"]


def test_a_full_disk_within_the_run_is_one_line(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints.torch, "save", failing)
    result = small_run(tmp_path)
    path = tmp_path / "checkpoints" / "best.ckpt"
    assert (result.status, result.error) == ("failed", f"OSError: [Errno 28] No space left on device: '{path}'")
    assert not list((tmp_path / "checkpoints").iterdir())


def interrupted(small_run: SmallRun, directory: Path, after: int) -> None:
    end = Recorder.on_train_epoch_end

    def end_and_stop(self: Recorder, trainer: Any, module: Any) -> None:
        end(self, trainer, module)
        if trainer.current_epoch == after:
            raise Interrupted("test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", end_and_stop)
        assert small_run(directory, recipe=Recipe(epochs=3)).status == "interrupted"


def test_the_clock_and_the_start_are_those_of_all_sittings(small_run: SmallRun, tmp_path: Path) -> None:
    interrupted(small_run, tmp_path, after=0)
    first = json.loads((tmp_path / "environment.json").read_text())
    assert first["sittings"] == []
    assert (stored(tmp_path)["sittings"], stored(tmp_path)["started"]) == (1, first["started"])
    # Long ago, and a thousand seconds in which ten thousand pictures were seen.
    last = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    clock = checkpoint["callbacks"]["Clock"]
    clock["total"], clock["images"] = 1000.0, 10_000
    clock["seconds"] = {"compile": 100.0, "train": 500.0, "eval": 300.0}
    torch.save(checkpoint, last)
    (tmp_path / "environment.json").write_text(json.dumps(first | {"started": "2001-01-01T00:00:00+00:00"}))
    interrupted(small_run, tmp_path, after=1)
    result = small_run(tmp_path, recipe=Recipe(epochs=3))
    assert (result.sittings, result.started) == (3, "2001-01-01T00:00:00+00:00")
    assert 1000 < result.seconds["total"] < 1100
    assert [round(result.seconds[part], -1) for part in ("compile", "train", "eval")] == [100, 500, 300]
    # The first step of each sitting is left out.
    assert result.images_per_second == pytest.approx((10_000 + 2 * 150) / result.seconds["train"])
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["process"] == first["process"]
    assert len(environment["sittings"]) == 2
    assert all(sitting["started"] > "2001" and "command" in sitting for sitting in environment["sittings"])
    assert environment["sittings"][1]["started"] >= environment["sittings"][0]["started"] > environment["started"]


def test_a_run_that_starts_over_begins_its_environment_anew(small_run: SmallRun, tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"started": "2001-01-01T00:00:00+00:00", "sittings": [{}]}')
    result = small_run(tmp_path)
    assert result.sittings == 1
    assert json.loads((tmp_path / "environment.json").read_text())["sittings"] == []
    assert (result.started or "") > "2002"


def test_history_ends_with_the_rates_that_the_epochs_left(small_run: SmallRun, tmp_path: Path) -> None:
    small_run(tmp_path, lr=0.125)
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {float(row["lr"]) for row in rows} == {0.125}
    assert float(rows[0]["seconds"]) < float(rows[1]["seconds"])
