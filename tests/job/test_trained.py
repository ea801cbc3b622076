"""A run is opened again from its own weights: those it started from are neither fetched nor read a second time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen, write_job
from cifarlab.job.job import Job
from cifarlab.job.trained import evaluate_again, trained_net
from cifarlab.models import pretrained
from cifarlab.training.divergence import Diverged
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.recorder import Recorder

MakeJob = Callable[..., Job]


@pytest.fixture
def small_job(compose_job: MakeJob, tiny: tuple[str, ...]) -> MakeJob:
    kept = [override for override in tiny if "width" not in override]
    net = ("model=transfer", "++model.name=test_resnet", "++model.stages=2", "++model.hidden=[8]")
    return lambda *overrides: compose_job(*kept, *net, "++limit=50", "++figures=[]", *overrides)


def test_a_pretrained_net_is_fetched_for_the_run_alone(
    small_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    create = timm.create_model

    def random_weights(name: str, *, pretrained: bool, **options: object) -> torch.nn.Module:
        asked.extend(["loaded"] * pretrained)
        return create(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrained, "fetch", lambda name: asked.append(f"fetched {name}"))
    monkeypatch.setattr(timm, "create_model", random_weights)
    job = small_job("++model.pretrained=true")
    job.preflight(10, (32, 32))
    assert asked == ["fetched test_resnet"]  # by the dry run, so that a sweep without a network does not start
    assert job.execute(tmp_path).status == "finished"
    assert asked == ["fetched test_resnet", "fetched test_resnet", "loaded"]
    asked.clear()
    net = trained_net(job, tmp_path, 10)
    kept = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())
    assert asked == []


def test_a_run_goes_on_without_the_file_that_it_started_from(
    small_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, directory = tmp_path / "start.pth", tmp_path / "run"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    job = small_job(f"++model.weights={file}", "++epochs=2")
    whole = job.execute(tmp_path / "whole")
    save = Recorder.on_train_epoch_end

    def save_and_stop(self, trainer, module):  # type: ignore[no-untyped-def]
        save(self, trainer, module)
        raise Interrupted("test")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", save_and_stop)
        assert job.execute(directory).epochs == 1
    file.unlink()
    assert job.execute(directory).metrics == whole.metrics
    trained_net(job, directory, 10)
    with pytest.raises(ValueError, match=r"start\.pth: there is no such file"):
        job.preflight(10, (32, 32))
    assert "there is no such file" in (job.execute(tmp_path / "new").error or "")


def change_best(directory: Path, **change: Any) -> None:
    path = directory / "checkpoints" / "best.ckpt"
    torch.save(torch.load(path, weights_only=True) | change, path)


def test_weights_of_another_run_are_not_tested(tiny_job: MakeJob, tmp_path: Path) -> None:
    job = tiny_job("++figures=[]")
    job.execute(tmp_path)
    trained_net(job, tmp_path, 10)
    change_best(tmp_path, key="f" * 16)
    with pytest.raises(ValueError, match=r"best\.ckpt is of another run \(f{16}\) than this one"):
        trained_net(job, tmp_path, 10)


def test_a_net_whose_answers_are_no_numbers_has_diverged_when_it_is_tested_too(
    tiny_job: MakeJob, tmp_path: Path
) -> None:
    job = tiny_job("++figures=[]")
    write_job(job, tmp_path)
    job.execute(tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    change_best(tmp_path, state_dict={name: value * torch.inf for name, value in state.items()})
    with pytest.raises(Diverged, match="test/loss became NaN or infinite in the test"):
        evaluate_again(tmp_path)


def test_a_run_is_tested_again_as_it_was_tested(tiny_job: MakeJob, tmp_path: Path) -> None:
    """All of it: the views at test time, the normalisation, the crop, the split; from the directory alone."""
    given = ("tta=mirror", "data.normalize=half", "data.eval_crop=2", "data.split_seed=3", "epochs=8", "model=tiny_vgg")
    job = tiny_job(*given, "limit=300", "optimizer=adam", "lr=0.003", "width=8")
    write_job(job, tmp_path)
    tested = {name: value for name, value in job.execute(tmp_path).metrics.items() if name.startswith("test/")}
    assert evaluate_again(tmp_path).metrics == tested
    assert tested["test/acc"] != tested["test/acc_tta"], "equal numbers would show nothing"
    # As if eight GPUs had trained it: a machine without them tests it on what it has.
    if not torch.cuda.is_available():
        write_job(job.changed(trainer__accelerator="gpu", trainer__devices=8), tmp_path)
        assert evaluate_again(tmp_path).metrics == tested


def test_a_run_goes_by_the_key_that_its_directory_has(tiny_job: MakeJob, tmp_path: Path) -> None:
    """Case 20: whatever later code would make of the same configuration."""
    job = tiny_job("blocks=1")
    write_job(job, tmp_path)
    assert reopen(tmp_path).identity == job.identity
    typed = yaml.safe_load((tmp_path / ".hydra" / "overrides.yaml").read_text())
    assert typed == list(job.overrides)
    assert "blocks=1" in typed
    recorded = {"key": "0123456789abcdef", "group": "fedcba9876543210"}
    (tmp_path / ".hydra" / "identity.yaml").write_text(yaml.safe_dump(recorded))
    again = reopen(tmp_path)
    assert (again.identity.key, again.identity.group) == tuple(recorded.values())
    assert again.digests == (job.identity.key, job.identity.group)
    (tmp_path / ".hydra" / "identity.yaml").unlink()
    assert reopen(tmp_path).identity == job.identity


@pytest.mark.parametrize("text", ["", "[1]", "key: 1\ngroup: 2\n", "key: ../../x\ngroup: 0123456789abcdef\n"])
def test_a_damaged_identity_is_named(tiny_job: MakeJob, tmp_path: Path, text: str) -> None:
    write_job(tiny_job(), tmp_path)
    (tmp_path / ".hydra" / "identity.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"identity\.yaml( is damaged|: a mapping is needed)"):
        reopen(tmp_path)


def test_a_directory_is_free_of_the_environment(
    tiny_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config is written resolved: where CIFARLAB_DATA points later does not move a run that waits."""
    monkeypatch.setenv("CIFARLAB_DATA", str(tmp_path / "first"))
    write_job(tiny_job(), tmp_path)
    monkeypatch.setenv("CIFARLAB_DATA", str(tmp_path / "second"))
    assert reopen(tmp_path).parts["data"].arguments["root"] == str(tmp_path / "first")
    assert "${" not in (tmp_path / ".hydra" / "config.yaml").read_text()
