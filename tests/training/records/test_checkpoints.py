"""Which weights are the best, and which checkpoints a run believes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifarlab.result import Result
from cifarlab.training.recipe import Recipe
from cifarlab.training.records.checkpoints import BestWeights, discard, load_weights, save_weights
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.recorder import Recorder

SmallRun = Callable[..., Result]
OURS, OTHER = "0" * 16, "f" * 16


def val(acc: float, loss: float) -> dict[str, float]:
    return {"val/acc": acc, "val/loss": loss}


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_then_came_first(tmp_path: Path) -> None:
    best = BestWeights(tmp_path, OURS)
    measured = [val(0.5, 2.0), val(0.4, 0.1), val(0.5, 1.0), val(0.5, 1.0), val(0.5, 1.5), val(0.6, 9.0)]
    assert [best.takes(epoch, metrics) for epoch, metrics in enumerate(measured)] == [
        True, False, True, False, False, True,
    ]  # fmt: skip
    assert (best.epoch, best.by, best.score) == (5, "val/acc", (0.6, -9.0))


def test_without_validation_each_epoch_is_the_best(tmp_path: Path) -> None:
    best = BestWeights(tmp_path, OURS)
    assert [best.takes(epoch, {"train/acc": 0.9 - epoch / 10}) for epoch in range(3)] == [True] * 3
    assert (best.epoch, best.by, best.score[0]) == (2, "last", -math.inf)


def test_a_tie_between_epochs_of_a_run_goes_to_the_first(small_run: SmallRun, tmp_path: Path) -> None:
    """At a learning rate of nothing every epoch measures the same."""
    result = small_run(tmp_path, lr=1e-30, recipe=Recipe(epochs=3))
    assert result.selected == {"by": "val/acc", "epoch": 0}
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 0


def test_both_files_carry_key_and_epoch(small_run: SmallRun, tmp_path: Path) -> None:
    assert small_run(tmp_path, key=OURS, recipe=Recipe(epochs=2)).status == "finished"
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(tmp_path / "checkpoints" / name, weights_only=True)
        assert (checkpoint["key"], checkpoint["epoch"]) == (OURS, 1)


def stopped(small_run: SmallRun, directory: Path, after: int = 1, epochs: int = 3) -> dict[Path, bytes]:
    """A run that was stopped after an epoch, and what its directory then holds."""
    end = Recorder.on_train_epoch_end

    def end_and_stop(self: Recorder, trainer: Any, module: Any) -> None:
        end(self, trainer, module)
        if trainer.current_epoch == after:
            raise Interrupted("test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", end_and_stop)
        assert small_run(directory, recipe=Recipe(epochs=epochs)).status == "interrupted"
    return contents(directory)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
@pytest.mark.parametrize("damage", ["torn", "empty", "noise", "pickle", "payload", "something else", "half"])
def test_a_damaged_checkpoint_is_named_with_the_way_out_and_nothing_is_touched(
    small_run: SmallRun, tmp_path: Path, name: str, damage: str
) -> None:
    stopped(small_run, tmp_path)
    path, ran = tmp_path / "checkpoints" / name, tmp_path.with_name("ran")
    whole = path.read_bytes()
    written = {
        "torn": whole[:100],
        "empty": b"",
        "noise": bytes(range(256)) * 40,
        "pickle": pickle.dumps(Payload(ran)),
        "half": whole[: len(whole) // 2],
    }
    if damage in written:
        path.write_bytes(written[damage])
    elif damage == "payload":
        torch.save(torch.load(path, weights_only=True) | {"note": Payload(ran)}, path)
    else:
        torch.save({"weights": torch.zeros(3)}, path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="remove the folder") as raised:
        small_run(tmp_path, recipe=Recipe(epochs=3))
    message = str(raised.value)
    assert message.startswith(f"{path} is damaged, or no checkpoint of a run: remove the folder {path.parent} and")
    assert "\n" not in message
    assert "weights_only" not in message
    assert contents(tmp_path) == before
    assert not ran.exists()


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_checkpoint_of_another_run_is_not_gone_on_with(small_run: SmallRun, tmp_path: Path, name: str) -> None:
    stopped(small_run, tmp_path)
    path = tmp_path / "checkpoints" / name
    torch.save(torch.load(path, weights_only=True) | {"key": OTHER}, path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf"{name} is of another run \({OTHER}\) than this one \({OURS}\): remove"):
        small_run(tmp_path, recipe=Recipe(epochs=3))
    assert contents(tmp_path) == before


def test_a_missing_best_is_said_before_training(small_run: SmallRun, tmp_path: Path) -> None:
    stopped(small_run, tmp_path)
    (tmp_path / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ValueError, match=r"best\.ckpt is missing, and .*last\.ckpt belongs to it: remove the folder"):
        small_run(tmp_path, recipe=Recipe(epochs=3))


@pytest.mark.parametrize("change", [{"key": OTHER}, {"epoch": 0}])
def test_weights_that_another_process_put_there_are_not_tested(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Mapping[str, Any]
) -> None:
    end = Recorder.on_train_epoch_end

    def end_and_mix(self: Recorder, trainer: Any, module: Any) -> None:
        end(self, trainer, module)
        torch.save(torch.load(self.best.path, weights_only=True) | change, self.best.path)

    monkeypatch.setattr(Recorder, "on_train_epoch_end", end_and_mix)
    result = small_run(tmp_path, recipe=Recipe(epochs=2))
    assert result.status == "failed"
    assert "best.ckpt is of " in (result.error or "")
    assert "test/acc" not in result.metrics


def without_key(path: Path) -> None:
    """A checkpoint as it was before checkpoints had keys, and three callbacks kept what the recorder keeps."""
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["key"]
    if "record" in checkpoint:
        record = checkpoint.pop("record")
        names = {"history": "History", "best": "BestWeights", "generators": "LastState"}
        checkpoint["callbacks"] |= {names[name]: state for name, state in record.items()}
    torch.save(checkpoint, path)


@pytest.mark.filterwarnings("ignore:Be aware that when using")
def test_checkpoints_of_earlier_versions_are_gone_on_with_to_the_same_digits(
    small_run: SmallRun, tmp_path: Path
) -> None:
    whole = small_run(tmp_path / "whole", recipe=Recipe(epochs=3))
    stopped(small_run, tmp_path / "parts")
    for name in ("last.ckpt", "best.ckpt"):
        without_key(tmp_path / "parts" / "checkpoints" / name)
    result = small_run(tmp_path / "parts", recipe=Recipe(epochs=3))
    assert (result.status, result.metrics, result.epochs) == ("finished", whole.metrics, 3)


def test_a_kill_between_the_two_files_loses_nothing(small_run: SmallRun, tmp_path: Path) -> None:
    """``best.ckpt`` is then of the epoch that will be repeated, and takes its place again, whatever it scores."""
    whole = small_run(tmp_path / "whole", recipe=Recipe(epochs=3))
    stopped(small_run, tmp_path / "later", after=1)
    stopped(small_run, tmp_path / "parts", after=0)
    later = (tmp_path / "later" / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "parts" / "checkpoints" / "best.ckpt").write_bytes(later)
    assert torch.load(tmp_path / "parts" / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 1
    result = small_run(tmp_path / "parts", recipe=Recipe(epochs=3))
    assert (result.status, result.metrics) == ("finished", whole.metrics)


@pytest.mark.parametrize(("last_epoch", "takes"), [(4, True), (5, False), (6, False)])
def test_an_epoch_that_is_repeated_takes_the_place_of_its_own_weights(
    tmp_path: Path, last_epoch: int, takes: bool
) -> None:
    """Where the digits differ a little the second time, it must not be tested as the best epoch before it."""
    best = BestWeights(tmp_path, OURS)
    save_weights(best.path, nn.Linear(2, 2), key=OURS, epoch=5)
    best.restore({"best": [0.9, -0.1], "epoch": 3, "by": "val/acc"}, last_epoch)
    assert best.takes(last_epoch + 1, val(0.89, 0.1)) is takes


def test_weights_of_another_epoch_altogether_are_refused(small_run: SmallRun, tmp_path: Path) -> None:
    stopped(small_run, tmp_path)
    path = tmp_path / "checkpoints" / "best.ckpt"
    torch.save(torch.load(path, weights_only=True) | {"epoch": 7}, path)
    with pytest.raises(ValueError, match=r"best\.ckpt is of epoch 7, .*last\.ckpt of epoch 1 expects 1: remove"):
        small_run(tmp_path, recipe=Recipe(epochs=3))


def test_weights_are_taken_for_the_run_that_is_asked_for(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    save_weights(tmp_path / "best.ckpt", net, key=OURS, epoch=3)
    assert load_weights(tmp_path / "best.ckpt", nn.Linear(2, 2), key=OURS) == {"key": OURS, "epoch": 3}
    assert load_weights(tmp_path / "best.ckpt", nn.Linear(2, 2))["epoch"] == 3
    with pytest.raises(ValueError, match="of another run"):
        load_weights(tmp_path / "best.ckpt", nn.Linear(2, 2), key=OTHER)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "best.ckpt"
    save_weights(path, nn.Linear(2, 2), epoch=0)
    before = contents(tmp_path)

    def full(content: object, file: Any) -> None:
        file.write(b"half")
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904, as torch does

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, nn.Linear(2, 2), epoch=1)
    assert contents(tmp_path) == before


def test_what_a_killed_process_left_half_written_goes_with_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("best.ckpt", "last.ckpt", ".best.ckpt.0123", ".last.ckpt.4567", "notes.txt"):
        (folder / name).touch()
    discard(tmp_path, "all")
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt", "notes.txt"}
    discard(tmp_path, "best")
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "notes.txt"}
    (folder / "notes.txt").unlink()
    discard(tmp_path, "none")
    assert not folder.exists()
