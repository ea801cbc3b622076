"""A run that goes on from a finished one: to which digits, under which schedule, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen, write_job
from cifarlab.job.job import Job
from cifarlab.result import Result
from cifarlab.summary.history import read_history
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.recorder import Recorder

MakeJob = Callable[..., Job]
GIVEN = ("model=tiny_vgg", "augment=[flip]", "++dropout=0.1", "++figures=[]", "optimizer=sgd", "++lr=0.02")


def run(job: Job, directory: Path) -> Result:
    write_job(job, directory)
    result = job.execute(directory)
    assert result.status == "finished", result.error
    return result


@pytest.fixture(scope="module")
def parent(tiny_job: MakeJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs at a constant rate."""
    directory = tmp_path_factory.mktemp("parent")
    run(tiny_job(*GIVEN, "schedule=constant", "epochs=2"), directory)
    return directory


@pytest.fixture(scope="module")
def whole(tiny_job: MakeJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four epochs of the same."""
    directory = tmp_path_factory.mktemp("whole")
    run(tiny_job(*GIVEN, "schedule=constant", "epochs=4"), directory)
    return directory


def history(directory: Path, *, without: str = "seconds") -> dict[str, list[float]]:
    return {name: list(values) for name, values in read_history(directory / "history.csv").items() if name != without}


def test_at_a_constant_rate_it_ends_as_one_run_of_that_length(
    compose_job: MakeJob, parent: Path, whole: Path, tmp_path: Path
) -> None:
    job = compose_job(f"continue_from={parent}", "epochs=+2")
    assert (job.settings.epochs, job.choices["model"]) == (4, "tiny_vgg")
    result = run(job, tmp_path)
    other = Result.read(whole)
    assert result.metrics == other.metrics
    assert history(tmp_path) == history(whole)
    assert (result.epochs, result.sittings, result.selected) == (4, 1, other.selected)
    key = Result.read(parent).key
    assert Result.read(tmp_path).parent == {"key": key, "directory": str(parent)}
    assert result.knobs["parent"] == key
    assert other.parent is None


def test_one_that_was_stopped_goes_on_without_its_parent(
    compose_job: MakeJob, parent: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, directory = tmp_path / "parent", tmp_path / "run"
    shutil.copytree(parent, copied)
    job = compose_job(f"continue_from={copied}", "epochs=4")
    write_job(job, directory)
    save = Recorder.on_train_epoch_end

    def save_and_stop(self, trainer, module):  # type: ignore[no-untyped-def]
        save(self, trainer, module)
        raise Interrupted("test")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", save_and_stop)
        assert job.execute(directory).epochs == 3
    shutil.rmtree(copied)
    again = reopen(directory)
    assert again.identity == job.identity
    result = again.execute(directory)
    assert (result.metrics, result.sittings) == (Result.read(whole).metrics, 2)
    assert result.parent == {"key": Result.read(parent).key, "directory": str(copied)}


@pytest.mark.parametrize(
    "schedule",
    [
        ("schedule=one_cycle",),
        ("schedule=cosine", "schedule.per=epoch"),
        ("schedule=multi_step", "schedule.milestones=[0.25,0.8]"),
        ("schedule=cyclical", "schedule.half_cycle_epochs=0.3"),
        ("schedule=plateau",),
    ],
)
def test_the_rate_is_that_of_a_run_of_the_whole_length(
    compose_job: MakeJob, tiny_job: MakeJob, parent: Path, tmp_path: Path, schedule: tuple[str, ...]
) -> None:
    """Also where batches are of another size and the optimizer has another rate than the parent's."""
    given = (*schedule, "lr=0.01", "batch_size=50", "epochs=4")
    run(compose_job(f"continue_from={parent}", *given), tmp_path / "child")
    run(tiny_job(*GIVEN, *given), tmp_path / "whole")
    rates = history(tmp_path / "child")["lr"]
    assert rates[:2] == [0.02, 0.02]
    assert rates[2:] == pytest.approx(history(tmp_path / "whole")["lr"][2:], rel=1e-12)


def test_momenta_are_the_parents_and_hyperparameters_its_own(
    compose_job: MakeJob, parent: Path, tmp_path: Path
) -> None:
    job = compose_job(f"continue_from={parent}", "epochs=3", "lr=0.005", "optimizer.momentum=0.5")
    assert job.parts["optimizer"].arguments["weight_decay"] == 0.0005
    run(job, tmp_path)
    state = [torch.load(place / "checkpoints" / "last.ckpt", weights_only=True) for place in (parent, tmp_path)]
    groups = [each["optimizer_states"][0]["param_groups"][0] for each in state]
    assert [(group["lr"], group["momentum"]) for group in groups] == [(0.02, 0.9), (0.005, 0.5)]
    assert state[1]["epoch"] == 2
    assert "inherited" not in state[1]


def test_its_key_has_the_parents_key_and_not_its_path(compose_job: MakeJob, parent: Path, tmp_path: Path) -> None:
    shutil.copytree(parent, tmp_path / "moved")
    here, there = (compose_job(f"continue_from={place}", "epochs=4") for place in (parent, tmp_path / "moved"))
    assert here.identity.key == there.identity.key
    identity = tmp_path / "moved" / ".hydra" / "identity.yaml"
    identity.write_text(identity.read_text().replace(Result.read(parent).key, "f" * 16))
    (tmp_path / "moved" / "checkpoints" / "last.ckpt").unlink()
    last = torch.load(parent / "checkpoints" / "last.ckpt", weights_only=True) | {"key": "f" * 16}
    torch.save(last, tmp_path / "moved" / "checkpoints" / "last.ckpt")
    other = compose_job(f"continue_from={tmp_path / 'moved'}", "epochs=4")
    assert other.identity.key != here.identity.key
    assert other.identity.group == here.identity.group
    seeded = compose_job(f"continue_from={parent}", "epochs=4", "seed=1")
    assert (seeded.identity.group, seeded.identity.seed) == (here.identity.group, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("epochs=2",), r"epochs=2: the parent has 2 epochs already; allowed: more than that in all, or epochs=\+N"),
        ((), r"epochs=2: the parent has 2 epochs already"),
        (("epochs=4", "data.split_seed=1"), r"data\.split_seed=1: the parent has 0; another choice of validation"),
        (("epochs=4", "limit=50"), r"data\.limit=50: the parent has 100"),
        (("epochs=4", "data=cifar10"), r"data\.source=.*CIFAR10.*: the parent has .*Digits"),
        (("epochs=4", "optimizer=adam"), r"optimizer: the parent's momenta are another optimizer's"),
        (("epochs=4", "finetune.lr=0.1"), r"finetune: a run in two phases"),
        (("epochs=4", "experiment=demo"), r"experiment=demo: with continue_from= a run has its parent's configuration"),
        (("epochs=4", "recipe=strong"), r"recipe=strong: with continue_from="),
        (("epochs=4", "blokcs=3"), r"blokcs=3"),
    ],
)
def test_what_would_be_another_run_is_refused(
    compose_job: MakeJob, parent: Path, given: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_job(f"continue_from={parent}", *given)


def test_a_net_of_another_shape_is_refused_before_the_run(compose_job: MakeJob, parent: Path) -> None:
    for given in ("width=8", "model=simple_cnn", "model.batch_norm=true"):
        with pytest.raises(ValueError, match=r"continue_from=.*: the net is not of its shape \(such as "):
            compose_job(f"continue_from={parent}", "epochs=4", given).preflight(10, (32, 32))
    with pytest.raises(ValueError, match="the optimizer's groups of weights are not the same"):
        compose_job(f"continue_from={parent}", "epochs=4", "optimizer.decay_norm_and_bias=true").preflight(10, (32, 32))
    compose_job(f"continue_from={parent}", "epochs=4", "activation=gelu").preflight(10, (32, 32))


def test_a_parent_that_cannot_be_gone_on_from_is_named(compose_job: MakeJob, parent: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: not a run directory"):
        compose_job(f"continue_from={tmp_path / 'nowhere'}", "epochs=4")
    shutil.copytree(parent, tmp_path / "kept")
    (tmp_path / "kept" / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(ValueError, match=r"last\.ckpt is missing; only checkpoints=all keeps what it takes"):
        compose_job(f"continue_from={tmp_path / 'kept'}", "epochs=4")
    shutil.copytree(parent, tmp_path / "stopped")
    path = tmp_path / "stopped" / "result.json"
    path.write_text(path.read_text().replace('"finished"', '"interrupted"', 1))
    with pytest.raises(ConfigError, match=r"it is interrupted; a finished run is needed, resume= goes on with others"):
        compose_job(f"continue_from={tmp_path / 'stopped'}", "epochs=4")
    path.unlink()
    with pytest.raises(ConfigError, match="it has no result yet"):
        compose_job(f"continue_from={tmp_path / 'stopped'}", "epochs=4")


def test_nobody_names_a_parent_by_hand(compose_job: MakeJob) -> None:
    with pytest.raises(ValueError, match=r"parent=.*: it is set by continue_from=RUN_DIR, and by nothing else"):
        compose_job(f"++parent={'0' * 16}/{'1' * 16}")
