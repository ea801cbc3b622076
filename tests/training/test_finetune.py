"""Two phases of a run: what learns in each, at which rate, and that a stopped run goes on in either."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.models.transfer import Transfer
from cifarlab.training.finetune import TwoPhases, head_of, norms_outside, refuse_many_devices
from cifarlab.training.optimizers.factories import muon, sgd
from cifarlab.training.recipe import Finetune
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.recorder import Recorder
from cifarlab.training.step import classifier
from cifarlab.training.step.classifier import Classifier

MakeJob = Callable[..., Job]
SMALL = ("model=transfer", "++model.name=test_resnet", "++model.stages=2", "++model.hidden=[8]", "++dropout=0.2")
PHASES = ("++limit=50", "++epochs=4", "++finetune.head_epochs=2", "++finetune.lr=0.001", "++lr=0.1")


@pytest.fixture
def small_job(compose_job: MakeJob, tiny: tuple[str, ...]) -> MakeJob:
    """A run in two phases of two epochs, of a net with batch norm in its backbone."""
    kept = [override for override in tiny if "width" not in override]
    return lambda *overrides: compose_job(*kept, *SMALL, *PHASES, "++figures=[]", *overrides)


def history(directory: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((directory / "history.csv").open()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize(
    ("head_epochs", "epochs", "lengths"),
    [
        (3, 10, (3, 7)),
        (0.5, 10, (5, 5)),
        (0.24, 10, (2, 8)),
        (1, 2, (1, 1)),
        (0.01, 10, (1, 9)),
        (0.99, 10, (9, 1)),
        (0.5, 1, (1, 0)),
    ],
)
def test_lengths_are_epochs_or_a_share(head_epochs: float, epochs: int, lengths: tuple[int, int]) -> None:
    assert Finetune(head_epochs=head_epochs).lengths(epochs) == lengths


@pytest.mark.parametrize(("head_epochs", "epochs", "allowed"), [(4, 4, "1 to 3 epochs"), (1, 1, "a share")])
def test_a_phase_without_an_epoch_is_refused(head_epochs: float, epochs: int, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"finetune\.head_epochs={head_epochs} .* epochs={epochs} .*{allowed}"):
        Finetune(head_epochs=head_epochs).lengths(epochs)


def test_the_head_is_what_the_net_says(tmp_path: Path) -> None:
    net = Transfer(10, name="test_resnet", hidden=(8,))
    assert head_of(net) == (net.head,)
    for name in ("resnet18", "test_vit", "test_convnext"):
        theirs = timm.create_model(name, num_classes=10)
        (head,) = head_of(theirs)
        assert isinstance(head, nn.Linear)
        assert head.out_features == 10
    with pytest.raises(
        ValueError, match=r"finetune: Linear does not say what its head is .*model=transfer and model=timm"
    ):
        head_of(nn.Linear(2, 2))


def test_norms_of_the_head_are_not_among_those_outside() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)))
    assert norms_outside((net[2],), net) == [net[1]]


@pytest.mark.parametrize("make", [sgd, muon])
def test_the_optimizer_knows_the_head_alone_and_then_everything_at_a_rate_in_ratio(make: Any) -> None:
    net = Transfer(10, name="test_resnet", hidden=(8,))
    net.backbone.net.bn1.bias.requires_grad_(False)  # frozen by its maker: it stays so
    phases = TwoPhases(Finetune(head_epochs=1, lr=0.012), epochs=2)
    first = phases.optimizer(lambda net: make(net, lr=0.24))(net)
    held = {id(each) for group in first.param_groups for each in group["params"]}
    assert held == {id(each) for each in net.head.parameters()}
    phases.phase = 2
    second = phases.optimizer(lambda net: make(net, lr=0.24))(net)
    trained = [each for group in second.param_groups for each in group["params"]]
    assert {id(each) for each in trained} == {id(each) for each in net.parameters()} - {id(net.backbone.net.bn1.bias)}
    rates = [group["lr"] for group in second.param_groups]
    assert rates == pytest.approx([0.012, 0.012] if make is sgd else [0.012, 0.005, 0.005])


def record_states(patch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """A copy of the net's state at the end of every epoch of the runs that follow."""
    states: list[dict[str, Tensor]] = []
    save = Recorder.on_train_epoch_end

    def record(self, trainer, module):  # type: ignore[no-untyped-def]
        states.append({name: value.clone() for name, value in module.net.state_dict().items()})
        save(self, trainer, module)

    patch.setattr(Recorder, "on_train_epoch_end", record)
    return states


def test_statistics_can_be_kept_to_the_end(small_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = record_states(monkeypatch)
    small_job("++finetune.keep_statistics=true").execute(tmp_path)
    first, last = states[0], states[-1]
    kept = [name for name in first if "running" in name or "num_batches" in name]
    assert kept
    assert all(torch.equal(first[name], last[name]) for name in kept)
    assert not torch.equal(first["backbone.net.bn1.weight"], last["backbone.net.bn1.weight"])


def test_only_the_head_moves_until_the_second_phase(
    small_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = record_states(monkeypatch)
    modes: list[tuple[bool, bool, bool]] = []
    step = Classifier.training_step

    def look(self, batch, batch_index):  # type: ignore[no-untyped-def]
        norm = self.net.backbone.net.bn1
        modes.append((norm.training, norm.weight.requires_grad, self.net.head[2].training))
        return step(self, batch, batch_index)

    monkeypatch.setattr(classifier.Classifier, "training_step", look)
    assert small_job().execute(tmp_path).status == "finished"
    moved = [
        {name for name in after if not torch.equal(before[name], after[name])} for before, after in pairwise(states)
    ]
    of_head = {name for name in states[0] if name.startswith("head.")}
    assert moved[0] == of_head  # neither weights nor statistics of batch norm, nor their counters
    of_backbone = {f"backbone.net.{name}" for name in ("layer1.0.conv1.weight", "bn1.running_mean", "bn1.weight")}
    assert moved[1] >= of_backbone
    assert modes == [(False, False, True)] * 4 + [(True, True, True)] * 4  # the head's dropout goes on


def test_the_first_phase_keeps_no_state_of_what_is_frozen(
    small_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop(patch, epoch=1, within=True)
        small_job("optimizer=adam").execute(tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert len(saved["state"]) == 4  # weight and bias of the head's two layers
    small_job("optimizer=adam").execute(tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert len(saved["state"]) == len(list(small_job().parts["model"](10).parameters()))


def test_each_phase_has_the_whole_schedule_at_its_own_rate(small_job: MakeJob, tmp_path: Path) -> None:
    small_job("schedule=linear", "++schedule.per=epoch").execute(tmp_path / "linear")
    small_job("schedule=constant").execute(tmp_path / "constant")
    # The history has the rate that an epoch leaves behind.
    assert [float(row["lr"]) for row in history(tmp_path / "linear")] == pytest.approx([0.05, 0.0, 0.0005, 0.0])
    assert [float(row["lr"]) for row in history(tmp_path / "constant")] == pytest.approx([0.1, 0.1, 0.001, 0.001])
    assert [row["phase"] for row in history(tmp_path / "linear")] == ["1", "1", "2", "2"]


def stop(patch: pytest.MonkeyPatch, epoch: int, within: bool) -> None:
    """Interrupt after an epoch's checkpoint, or in the middle of the epoch."""
    save, step = Recorder.on_train_epoch_end, classifier.Classifier.training_step

    def save_and_stop(self, trainer, module):  # type: ignore[no-untyped-def]
        save(self, trainer, module)
        if trainer.current_epoch == epoch and not within:
            raise Interrupted("test")

    def step_or_stop(self, batch, batch_index):  # type: ignore[no-untyped-def]
        if self.trainer.current_epoch == epoch and batch_index == 1 and within:
            raise Interrupted("test")
        return step(self, batch, batch_index)

    patch.setattr(Recorder, "on_train_epoch_end", save_and_stop)
    patch.setattr(classifier.Classifier, "training_step", step_or_stop)


def test_a_run_stopped_anywhere_gives_the_digits_of_one_that_was_not(
    small_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("optimizer=adam", "schedule=one_cycle", "++ema=0.9", "++lr=0.01")
    whole = small_job(*overrides).execute(tmp_path / "whole")
    # In the first phase, between the two, in the second phase.
    for number, (epoch, within) in enumerate([(1, True), (1, False), (3, True)]):
        directory = tmp_path / str(number)
        with monkeypatch.context() as patch:
            stop(patch, epoch, within)
            assert small_job(*overrides).execute(directory).status == "interrupted"
        resumed = small_job(*overrides).execute(directory)
        assert resumed.metrics == whole.metrics
        assert history(directory) == history(tmp_path / "whole")
    assert whole.metrics["train/loss"] != 0


def test_a_compiled_net_has_the_digits_of_a_plain_one(
    small_job: MakeJob, tmp_path: Path, compile_eagerly: list[int]
) -> None:
    """What was traced without gradients of the backbone must not serve the second phase."""
    plain = small_job().execute(tmp_path / "plain")
    compiled = small_job("++trainer.compile=true").execute(tmp_path / "compiled")
    assert compiled.metrics == pytest.approx(plain.metrics, rel=1e-5)


def test_early_stopping_counts_in_the_second_phase_alone(small_job: MakeJob, tmp_path: Path) -> None:
    """Where nothing ever changes, a run ends an epoch after the first that counts: here after the fourth of eight."""
    nothing = ("++lr=1e-30", "++finetune.lr=1e-30", "++finetune.keep_statistics=true", "schedule=constant")
    result = small_job("++early_stopping=1", "++epochs=8", *nothing).execute(tmp_path)
    assert result.status == "finished"
    assert result.epochs == 4


def test_timms_nets_have_two_phases_too(compose_job: MakeJob, tiny: tuple[str, ...], tmp_path: Path) -> None:
    kept = [override for override in tiny if "width" not in override]
    job = compose_job(*kept, "model=timm", "++model.name=test_vit", *PHASES, "++epochs=2", "++finetune.head_epochs=1")
    result = job.execute(tmp_path)
    assert result.status == "finished"
    assert [row["phase"] for row in history(tmp_path)] == ["1", "2"]


def test_the_reports_experiment_is_what_the_report_says(
    compose_job: MakeJob, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """R5.6; run with a small backbone, which needs no download."""
    job = compose_job("experiment=transfer")
    wanted = {
        "model.name": "vgg19", "pretrained": True, "hidden": "512+512+512", "dropout": 0.4,
        "data.normalize": "imagenet", "data": "cinic10", "finetune.lr": 1e-5, "lr": 1e-3, "stages": None,
        "model.image_size": None,
    }  # fmt: skip
    assert {name: job.knobs[name] for name in wanted} == wanted
    small = [override for override in tiny if "width" not in override and "epochs" not in override]
    light = ("++epochs=2", "++limit=50", "++model.pretrained=false", "++model.name=test_resnet")
    result = compose_job("experiment=transfer", *small, *light).execute(tmp_path)
    assert result.status == "finished"
    assert [row["phase"] for row in history(tmp_path)] == ["1", "2"]
    assert (tmp_path / "figures" / "curves.png").exists()


def test_the_two_phases_count_for_the_key(small_job: MakeJob) -> None:
    given = small_job()
    assert given.identity.knobs["finetune.head_epochs"] == 2
    assert given.identity.knobs["finetune.lr"] == 0.001
    others = [small_job("++finetune.lr=0.01"), small_job("++finetune.head_epochs=1"), small_job("++finetune=null")]
    assert len({job.identity.key for job in (given, *others)}) == 4


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("++trainer.devices=2",), "finetune: takes one device, 2 were given"),
        (
            ("schedule=multi_step", "++schedule.milestones=[3]"),
            r"milestones=3 .* epochs=2: .* phase 1 of finetune",
        ),
        (("++epochs=2",), r"finetune\.head_epochs=2 leaves the second of the two phases of epochs=2 without an epoch"),
        (("++finetune.lr=0",), r"finetune\.lr=0: allowed: a number above 0"),
        (("++finetune.rate=1",), r"finetune\.rate=1: there is no key rate"),
        (("++finetune.head_epochs=2.5",), r"head_epochs=2\.5: allowed: an integer from 1 or a number above 0 below 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(small_job: MakeJob, overrides: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_job(*overrides).preflight(10, (32, 32))


def test_a_net_without_a_backbone_is_refused(tiny_job: MakeJob) -> None:
    with pytest.raises(ValueError, match="finetune: ResidualCNN does not say what its head is"):
        tiny_job(*PHASES).preflight(10, (32, 32))


def test_several_devices_are_refused_in_the_run_too() -> None:
    with pytest.raises(ValueError, match="takes one device"):
        refuse_many_devices(2)
    refuse_many_devices(1)


def test_a_mapping_is_needed(tiny_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match="finetune=3: a mapping of Finetune's keys is needed"):
        tiny_job("++finetune=3")
