"""A run as a whole: its numbers, its files, and every way it can end."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cifarlab.job.directory import reopen
from cifarlab.job.job import Job
from cifarlab.job.trained import evaluate_again, trained_net
from cifarlab.models.speedrun import Speedrun
from cifarlab.training.optimizers.factories import muon
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.recorder import Recorder
from cifarlab.training.run import first_pictures
from cifarlab.training.step import classifier

MakeJob = Callable[..., Job]
CONF = Path(__file__).resolve().parents[2] / "conf"
GOLDEN_LOSSES = [2.3030517578, 2.3025248718, 2.3016246033]  # torch 2.14, float32, AVX-512


def history(directory: Path) -> list[dict[str, str]]:
    """The rows of history.csv without their seconds, which no two runs share."""
    rows = list(csv.DictReader((directory / "history.csv").open()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def save_config(directory: Path, *overrides: str) -> None:
    """``.hydra/`` as Hydra would have written it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=list(overrides), return_hydra_config=True)
    (directory / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create({"hydra": config.hydra}), directory / ".hydra" / "hydra.yaml")
    task = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    OmegaConf.save(task, directory / ".hydra" / "config.yaml")


def test_golden_losses_of_three_steps(tiny_job: MakeJob, tmp_path: Path) -> None:
    """A change that is not meant to change the arithmetic must not change these digits."""
    result = tiny_job("++epochs=3", "++batch_size=100", "++data.val_fraction=0", "augment=crop").execute(tmp_path)
    losses = [float(row["train/loss"]) for row in history(tmp_path)]
    assert result.status == "finished"
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-4)


def test_a_run_writes_what_the_contract_names(tiny_job: MakeJob, tmp_path: Path) -> None:
    result = tiny_job("logger=[tensorboard,csv]", "++epochs=2").execute(tmp_path)
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["schema"] == 2
    assert stored["status"] == "finished"
    assert set(stored["metrics"]) >= {
        "train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc",
        "test/precision_macro", "test/recall_macro", "test/f1_macro",
    }  # fmt: skip
    assert stored["selected"]["by"] == "val/acc"
    assert stored["epochs"] == 2
    assert set(stored["seconds"]) == {"data", "compile", "train", "eval", "total"}
    assert stored["seconds"]["total"] >= stored["seconds"]["train"] + stored["seconds"]["eval"]
    assert stored["parameters"] == sum(
        p.numel() for p in trained_parameters(tmp_path).values() if p.is_floating_point()
    )
    assert stored["precision"] == "32"
    for name in ("environment.json", "report.txt", "history.csv", "figures/curves.png", "figures/confusion.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert (tmp_path / "csv" / "metrics.csv").exists()
    assert result.metrics == stored["metrics"]


def trained_parameters(directory: Path) -> dict[str, torch.Tensor]:
    """The weights in best.ckpt that training may change."""
    state = torch.load(directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if "running" not in name and "num_batches" not in name}


def test_tensorboard_opens_on_curves_and_has_a_row_a_run(tiny_job: MakeJob, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    ends = {}
    for name, lr, epochs in (("good", "0.01", 2), ("bad", "1e30", 2)):
        job = tiny_job("logger=tensorboard", "++figures=[]", f"++lr={lr}", f"++epochs={epochs}")
        result = job.execute(tmp_path / name)
        events = EventAccumulator(str(tmp_path / name / "tensorboard")).Reload()
        rows = {
            tag: metadata.parse_session_start_info_plugin_data(content)
            for tag, content in events.PluginTagToContent("hparams").items()
            if tag == metadata.SESSION_START_INFO_TAG
        }
        (row,) = rows.values()
        experiment = metadata.parse_experiment_plugin_data(
            events.PluginTagToContent("hparams")[metadata.EXPERIMENT_TAG]
        )
        ends[name] = (result, events, row, experiment)
    result, events, row, experiment = ends["good"]
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    scalars = events.Tags()["scalars"]
    assert [tag for tag in sorted(scalars) if not tag.startswith("weights_chosen/")] == [
        "lr", "train/acc", "train/loss", "val/acc", "val/loss"
    ]  # fmt: skip
    assert [event.value for event in events.Scalars("val/acc")] == pytest.approx(
        [float(row["val/acc"]) for row in history(tmp_path / "good")]
    )
    assert [event.value for event in events.Scalars("lr")] == pytest.approx(
        [float(row["lr"]) for row in history(tmp_path / "good")], rel=1e-6
    )
    assert events.Scalars("weights_chosen/test/acc")[0].value == pytest.approx(result.metrics["test/acc"])
    assert (row.group_name, row.hparams["status"].string_value, row.hparams["lr"].number_value) == (
        "good", "finished", 0.01
    )  # fmt: skip
    assert [metric.display_name for metric in experiment.metric_infos][:3] == ["val/acc", "test/acc", "val/loss"]
    first = {info.name for info in experiment.hparam_infos if info.differs}
    assert {"lr", "status"} <= first
    assert "weight_decay" not in first
    result, events, row, _ = ends["bad"]
    assert (result.status, row.group_name, row.hparams["status"].string_value) == ("diverged", "bad", "diverged")
    assert math.isnan(events.Scalars("weights_chosen/val/acc")[0].value)


def test_checkpoints_hold_plain_names_and_open_without_pickle(tiny_job: MakeJob, tmp_path: Path) -> None:
    job = tiny_job("++trainer.compile=false")
    job.execute(tmp_path)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert set(best["state_dict"]) == set(job.parts["model"](10).state_dict())
    assert last["optimizer_states"][0]["param_groups"][0]["momentum"] == 0.9
    assert not list((tmp_path / "checkpoints").glob(".*"))


@pytest.mark.parametrize(
    ("keep", "files"), [("all", {"best.ckpt", "last.ckpt"}), ("best", {"best.ckpt"}), ("none", None)]
)
def test_a_finished_run_keeps_what_it_was_told(tiny_job: MakeJob, tmp_path: Path, keep: str, files: set[str]) -> None:
    tiny_job(f"++checkpoints={keep}").execute(tmp_path)
    folder = tmp_path / "checkpoints"
    assert (({path.name for path in folder.iterdir()}) if folder.exists() else None) == files


def test_the_same_seed_gives_the_same_digits_and_another_seed_others(tiny_job: MakeJob, tmp_path: Path) -> None:
    first = tiny_job().execute(tmp_path / "a").metrics
    second = tiny_job().execute(tmp_path / "b").metrics
    other = tiny_job("++seed=1").execute(tmp_path / "c").metrics
    assert first == second
    assert first["train/loss"] != other["train/loss"]


def test_each_part_of_the_seed_changes_the_run(tiny_job: MakeJob, tmp_path: Path) -> None:
    losses = {
        part: tiny_job(f"++{part}=7").execute(tmp_path / part).metrics["train/loss"]
        for part in ("seed_init", "seed_order", "seed_augment")
    }
    losses["none"] = tiny_job().execute(tmp_path / "none").metrics["train/loss"]
    assert len(set(losses.values())) == 4


@pytest.mark.parametrize("where", ["after an epoch", "within an epoch"])
def test_a_run_stopped_and_resumed_gives_the_digits_of_one_that_was_not(
    tiny_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    overrides = ("++epochs=4", "++dropout=0.2", "optimizer=muon", "schedule=one_cycle", "++augment.cutout.size=8")
    whole = tiny_job(*overrides).execute(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_once(patch, where)
        stopped = tiny_job(*overrides).execute(tmp_path / "parts")
    assert stopped.status == "interrupted"
    assert 0 < stopped.epochs < 4
    resumed = tiny_job(*overrides).execute(tmp_path / "parts")
    assert resumed.status == "finished"
    assert resumed.metrics == whole.metrics
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    for name, value in trained_parameters(tmp_path / "whole").items():
        assert torch.equal(value, trained_parameters(tmp_path / "parts")[name]), name


def stop_once(patch: pytest.MonkeyPatch, where: str) -> None:
    """Interrupt after the second epoch's checkpoint, or in the middle of the third epoch."""
    save, step = Recorder.on_train_epoch_end, classifier.Classifier.training_step

    def save_and_stop(self, trainer, module):  # type: ignore[no-untyped-def]
        save(self, trainer, module)
        if trainer.current_epoch == 1:
            raise Interrupted("test")

    def step_or_stop(self, batch, batch_index):  # type: ignore[no-untyped-def]
        if self.trainer.current_epoch == 2 and batch_index == 1:
            raise Interrupted("test")
        return step(self, batch, batch_index)

    if where == "after an epoch":
        patch.setattr(Recorder, "on_train_epoch_end", save_and_stop)
    else:
        patch.setattr(classifier.Classifier, "training_step", step_or_stop)


def test_evaluating_again_gives_the_digits_of_the_run(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    save_config(tmp_path, *tiny, "++epochs=2")
    result = reopen(tmp_path).execute(tmp_path)
    (tmp_path / "result.json").unlink()
    again = evaluate_again(tmp_path)
    assert again.metrics == {name: value for name, value in result.metrics.items() if name.startswith("test/")}
    assert again.confusion.sum() == 100
    assert again.confusion.trace() / 100 == result.metrics["test/acc"]
    assert again.report() == (tmp_path / "report.txt").read_text()


@pytest.mark.parametrize(("number", "text"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_leaves_an_interrupted_run_with_its_checkpoint(
    tiny_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    step = classifier.Classifier.training_step

    def step_and_signal(self, batch, batch_index):  # type: ignore[no-untyped-def]
        if self.trainer.current_epoch == 1:
            os.kill(os.getpid(), number)
        return step(self, batch, batch_index)

    monkeypatch.setattr(classifier.Classifier, "training_step", step_and_signal)
    before = signal.getsignal(number)
    result = tiny_job("++epochs=3").execute(tmp_path)
    assert result.status == "interrupted"
    assert text in (result.error or "")
    assert result.epochs == 1
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(number) == before


def test_a_loss_that_breaks_ends_the_run_as_diverged_and_says_where(
    tiny_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = classifier.Classifier.training_step

    def break_in_the_second_epoch(self, place, batch_index):  # type: ignore[no-untyped-def]
        if self.trainer.current_epoch == 1:
            place.batches._scale.fill_(math.nan)
        return step(self, place, batch_index)

    monkeypatch.setattr(classifier.Classifier, "training_step", break_in_the_second_epoch)
    result = tiny_job("++epochs=3").execute(tmp_path)
    assert result.status == "diverged"
    assert result.error == "the training loss became NaN or infinite between steps 4 and 8"


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), SystemExit(3), MemoryError("no room")])
def test_an_exception_ends_the_run_as_failed_with_its_text(
    tiny_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(self, batch, batch_index):  # type: ignore[no-untyped-def]
        raise error

    monkeypatch.setattr(classifier.Classifier, "training_step", fail)
    result = tiny_job().execute(tmp_path)
    assert result.status == "failed"
    assert type(error).__name__ in (result.error or "")
    assert json.loads((tmp_path / "result.json").read_text())["error"] == result.error


def test_weights_are_those_of_the_best_validation_epoch(tiny_job: MakeJob, tmp_path: Path) -> None:
    result = tiny_job("++epochs=4", "++lr=0.02").execute(tmp_path)
    rows = history(tmp_path)
    best = max(rows, key=lambda row: (float(row["val/acc"]), -float(row["val/loss"])))
    assert result.selected == {"by": "val/acc", "epoch": int(best["epoch"])}
    assert result.metrics["val/acc"] == float(best["val/acc"])


def test_without_validation_the_last_weights_are_tested(tiny_job: MakeJob, tmp_path: Path) -> None:
    result = tiny_job("++data.val_fraction=0", "++epochs=2").execute(tmp_path)
    assert result.selected == {"by": "last", "epoch": 1}
    assert "val/acc" not in result.metrics


def test_early_stopping_ends_a_run_that_does_not_improve(tiny_job: MakeJob, tmp_path: Path) -> None:
    result = tiny_job("++epochs=50", "++early_stopping=1", "++lr=0.5", "schedule=constant").execute(tmp_path)
    assert result.status == "finished"
    assert result.epochs < 50


def test_early_stopping_without_validation_is_refused(tiny_job: MakeJob, tmp_path: Path) -> None:
    result = tiny_job("++early_stopping=1", "++data.val_fraction=0").execute(tmp_path)
    assert result.status == "failed"
    assert "data.val_fraction" in (result.error or "")


def test_a_compiled_net_saves_plain_names(tiny_job: MakeJob, tmp_path: Path, compile_eagerly: list[int]) -> None:
    job = tiny_job("++trainer.compile=true")
    assert job.execute(tmp_path).status == "finished"
    assert compile_eagerly == [32] * 3  # of the four batches of the epoch those of full size
    trained_net(job, tmp_path, 10)


def test_a_net_may_look_at_training_pictures_before_the_first_step(
    compose_job: MakeJob, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    overrides = [override for override in tiny if "width" not in override]
    job = compose_job(*overrides, "model=speedrun", "++model.widths=[4,4,4]", "++data.val_fraction=0")
    assert job.execute(tmp_path).status == "finished"
    data = job.make_data()
    data.setup()
    (pictures, _) = next(iter(data.batches("train")))
    patches = torch.nn.functional.unfold(pictures, 2).transpose(1, 2).reshape(-1, 12)
    filters = trained_net(job, tmp_path, 10).whiten.weight.detach()[:12].reshape(12, 12)
    moments = (patches @ filters.T).square().mean(0)
    assert moments.max().item() == pytest.approx(1.0, abs=0.02)


def test_with_a_moving_average_that_is_what_is_validated_kept_and_tested(tiny_job: MakeJob, tmp_path: Path) -> None:
    shorter = ("++epochs=3", "++data.val_fraction=0")  # without validation the last weights are kept
    tiny_job(*shorter).execute(tmp_path / "plain")
    result = tiny_job(*shorter, "++ema=0.9").execute(tmp_path / "ema")
    assert result.knobs["ema"] == 0.9
    assert history(tmp_path / "ema")[-1]["train/loss"] == history(tmp_path / "plain")[-1]["train/loss"]
    kept = torch.load(tmp_path / "ema" / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "ema" / "checkpoints" / "last.ckpt", weights_only=True)
    average = last["callbacks"]["WeightEMA"]["average"]
    assert kept["epoch"] == 2
    assert all(torch.equal(value, average[name]) for name, value in kept["state_dict"].items())


def test_a_moving_average_resumes_to_the_digit(
    tiny_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("++ema=0.9", "++epochs=4")
    whole = tiny_job(*overrides).execute(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_once(patch, "within an epoch")
        tiny_job(*overrides).execute(tmp_path / "parts")
    assert tiny_job(*overrides).execute(tmp_path / "parts").metrics == whole.metrics


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_a_run_is_a_loop_written_by_hand_to_the_last_bit(
    compose_job: MakeJob, tiny: tuple[str, ...], tmp_path: Path, precision: str
) -> None:
    """Lightning, callbacks and records change nothing in the arithmetic of a speed run."""
    overrides = [override for override in tiny if "width" not in override and "precision" not in override]
    recipe = (
        "++batch_size=50",
        "++epochs=3",
        "++data.val_fraction=0",
        "++label_smoothing=0.2",
        f"++precision={precision}",
    )
    choices = ("model=speedrun", "optimizer=muon", "schedule=linear", "augment=[alternating_flip,crop]")
    size = ("++model.widths=[4,8,8]", "++model.depths=[2,2,3]")
    job = compose_job(*overrides, *choices, *recipe, *size, "++lr=0.24", "++optimizer.head_lr=30")
    assert job.execute(tmp_path).status == "finished"

    data = job.make_data()
    data.setup()
    batches = data.train_dataloader().batches
    torch.manual_seed(0)
    net = Speedrun(10, widths=(4, 8, 8), depths=(2, 2, 3)).to(memory_format=torch.channels_last)
    net.fit_to_images(first_pictures(data))
    optimizer = muon(net, lr=0.24, head_lr=30)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step in range(3 * len(batches)):
        images, labels = batches.batch(*divmod(step, len(batches)))
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * (1 - step / (3 * len(batches)))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = net(images)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=0.2).backward()
        optimizer.step()

    assert len(batches) > 1
    trained = trained_net(job, tmp_path, 10).state_dict()
    for name, by_hand in net.state_dict().items():
        assert torch.equal(trained[name], by_hand), name
