"""The command line: paths as they are typed, one message for each mistake, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from cifarlab.job.configure import ConfigError
from cifarlab.result import Status
from cifarlab.verbs import command_line, evaluation_options, figure_options, run_directory, summarize
from cifarlab.verbs.command_line import flags_first, prepare, quote_path, register_resolvers
from cifarlab.verbs.train import what_next

TrainPy = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "data=digits", "limit=60", "width=4", "blocks=1", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _conf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "CONF", ROOT / "conf")


def only_run(folder: Path) -> Path:
    """The one run below ``outputs/``."""
    (run,) = (folder / "outputs").iterdir()
    return run


def result(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


def read(argument: str) -> Any:
    """The value Hydra reads from an argument."""
    return OverridesParser.create().parse_override(argument).value()


@pytest.mark.parametrize("key", ["run", "resume", "data.root", "++data.root", "hydra.run.dir"])
@pytest.mark.parametrize(
    "path",
    ["multirun/a=1,b=2", "two words", "a'b", "back\\slash", "ends\\", "a\\'b", "[x]", "{y}", "(z)", "é", "a#b", "1",
     "null", "C:\\data\\'x'", "a:b", "~nobody-here/x", "50%"],
)  # fmt: skip
def test_a_path_is_read_as_it_is_typed(key: str, path: str) -> None:
    assert read(quote_path(f"{key}={path}")) == path


@pytest.mark.parametrize("key", ["hydra.run.dir", "++hydra.run.dir"])
def test_a_run_directory_of_the_home_folder_is_hydra_s_too(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of its owner")
    assert read(quote_path(f"{key}=~/a=1,b")) == "/home/of its owner/a=1,b"
    assert read(quote_path(f"{key}=a/~/b")) == "a/~/b"


def test_the_verbs_that_read_a_directory_know_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/owner")
    assert evaluation_options.Options(run="~/outputs/x").runs == [Path("/home/owner/outputs/x")]
    drawn = figure_options.Options(figure="curves", run="~/outputs/x", weights="~/w.safetensors")
    assert (drawn.run, drawn.weights) == (Path("/home/owner/outputs/x"), Path("/home/owner/w.safetensors"))
    assert summarize.parse_arguments(["~/multirun/x"]).sweep_dirs == ("/home/owner/multirun/x",)
    assert summarize.parse_arguments(["~nobody-here/x"]).sweep_dirs == ("~nobody-here/x",)


@pytest.mark.parametrize(("given", "seen"), [("", None), ("/data", "/data"), (None, None)])
def test_an_empty_folder_of_data_sets_counts_as_unset(
    given: str | None, seen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIFARLAB_DATA", given or "")
    if given is None:
        monkeypatch.delenv("CIFARLAB_DATA")
    roots: list[str] = []
    monkeypatch.setattr(sys, "argv", ["train.py"])
    folder = OmegaConf.load(ROOT / "conf" / "data" / "cifar10.yaml")
    command_line.call(lambda: roots.append(folder.root))
    assert (os.environ.get("CIFARLAB_DATA"), roots) == (seen, [seen or "data"])


@given(st.text(alphabet="ab=, \\'\"[]{}()#~:/", min_size=1).filter(lambda path: path[0] not in "'\""))
def test_any_path_is_read_as_it_is_typed(path: str) -> None:
    assert read(quote_path(f"data.root={path}")) == path


@pytest.mark.parametrize(
    "argument", ["run='a b'", 'run="a b"', "run=${oc.env:HOME}", "run=", "lr=0.1,0.2", "running=a,b"]
)
def test_what_is_quoted_or_no_path_is_left_alone(argument: str) -> None:
    assert quote_path(argument) == argument


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("kernel_size=5", "++kernel_size=5"),
        ("model.downsample=pool", "++model.downsample=pool"),
        ("lr=0.1,0.2", "++lr=0.1,0.2"),
        ("model=resnet", "model=resnet"),
        ("augment=[crop,flip]", "augment=[crop,flip]"),
        ("+model.x=1", "+model.x=1"),
        ("++model.x=1", "++model.x=1"),
        ("hydra.run.dir=x", "hydra.run.dir='x'"),
        ("hydra/launcher=basic", "hydra/launcher=basic"),
        ("-m", "-m"),
        ("--cfg=job", "--cfg=job"),
        ("data.root=a=b,c", "++data.root='a=b,c'"),
        ("exclude={blocks:5,seed:1}", "++exclude=[{blocks:5,seed:1}]"),
        ("exclude=[{blocks:5},{seed:1}]", "++exclude=[{blocks:5},{seed:1}]"),
    ],
)
def test_any_key_of_a_signature_can_be_set(typed: str, prepared: str) -> None:
    assert prepare(typed) == prepared


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("model=null", "model=null: name an option of model, or leave it out. Allowed: convnet, "),
        ("optimizer=3", "optimizer=3: name an option of optimizer, or leave it out. Allowed: adam, "),
        ("model=resnet,null", "model=resnet,null: name an option of model"),
        ("penalty=null", "penalty=null: name an option of penalty, or leave it out. Did you mean penalty=none?"),
        ("data={a: 1}", "data={a: 1}: name an option of data"),
    ],
)
def test_a_group_wants_the_name_of_an_option(argument: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        prepare(argument)


@pytest.mark.parametrize("argument", ["model='vgg19'", "model=vgg19,resnet", "augment=[]", "augment=[crop],[flip]"])
def test_names_and_lists_of_names_choose_options(argument: str) -> None:
    assert prepare(argument) == argument


@pytest.mark.parametrize("argument", ["~model", "~model.kernel_size", "~augment=crop"])
def test_nothing_can_be_taken_away(argument: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{argument}: nothing can be taken away")):
        prepare(argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("~model", "~model: nothing can be taken away"),
        ("model=resnt", "model=resnt: there is no such model. Did you mean model=resnet? Allowed: convnet, "),
        ("data=cifar", "data=cifar: there is no such data. Did you mean data=cifar1"),
        ("kernel_size=-1", "model.kernel_size=-1: allowed: an integer from 1 to 11"),
        ("kernel_size=abc", "model.kernel_size=abc: allowed: an integer"),
        ("kernel_size=2,3", "Ambiguous value"),
        ("model.kernal_size=5", "model.kernal_size=5: there is no key kernal_size. Did you mean model.kernel_size?"),
        ("+model.kernal_size=5", "model.kernal_size=5: there is no key kernal_size. Did you mean model.kernel_size?"),
        ("kernal_size=5", "kernal_size=5: resnet has no kernal_size. Did you mean kernel_size?"),
        ("precision=bf17", "trainer.precision=bf17: allowed: one of auto, 32"),
        ("lr=nan", "optimizer.lr=nan: allowed: a number above 0"),
        ("lr=inf", "optimizer.lr=inf: allowed: a number above 0"),
        ("dropout=1.5", "model.dropout=1.5: allowed: a number from 0"),
        ("seed=-1", "seed=-1: allowed: an integer from 0"),
        ("figures=[circle]", "figures=circle: there is no such figure; allowed: curves"),
        ("data.fold=7/5", "fold"),
        ("optimizer.momentum=0", "nesterov=true needs momentum above 0"),
        ("model._target_=os.system", "model._target_=os.system: only classes of cifarlab.models"),
        ("resume=nowhere", "nowhere: not a run directory"),
        ("lr=", "optimizer.lr="),
        ("kernel_size=[", ""),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing_behind(
    train_py: TrainPy, tmp_path: Path, argument: str, message: str
) -> None:
    ended = train_py(argument) if argument.startswith("resume") else train_py(*TINY, argument)
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_the_short_name(train_py: TrainPy, tmp_path: Path) -> None:
    ended = train_py("data=digits", "model=tiny_vgg", "kernel_size=5")
    assert ended.code == 2
    assert ended.err.startswith("kernel_size=5: tiny_vgg has no kernel_size.")
    assert list(tmp_path.iterdir()) == []


def test_all_faults_are_told_at_once(train_py: TrainPy) -> None:
    ended = train_py(*TINY, "kernel_size=0", "lr=-1", "+nobody=1")
    assert len(ended.err.splitlines()) == 3


def test_a_missing_data_set_is_one_message(train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare_data(self: object) -> None:
        raise ValueError("cifar10 is not there; data=digits needs no download")

    monkeypatch.setattr("cifarlab.data.module.ImageData.prepare_data", prepare_data)
    ended = train_py(*TINY)
    assert (ended.code, ended.err) == (2, "cifar10 is not there; data=digits needs no download\n")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_other_runs_alone(train_py: TrainPy, tmp_path: Path) -> None:
    (tmp_path / "outputs" / "older").mkdir(parents=True)
    assert train_py(*TINY, "kernel_size=0").code == 2
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["older"]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine.log").write_text("precious")
    assert train_py(*TINY, "kernel_size=0", "hydra.run.dir=logs").code == 2
    assert (tmp_path / "logs" / "mine.log").read_text() == "precious"


def test_runs_of_one_second_do_not_meet(train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [run_directory.unique("2026-01-01_00-00-00_resnet") for _ in range(3)]
    assert names == [f"2026-01-01_00-00-00_resnet{suffix}" for suffix in ("", "-2", "-3")]
    for name in names:
        assert (tmp_path / "outputs" / name).is_dir()


def test_a_run_is_named_by_experiment_or_model() -> None:
    register_resolvers()
    assert command_line._run_name(None, "resnet") == "resnet"
    assert command_line._run_name("None", "resnet") == "resnet"
    assert command_line._run_name("grid", "resnet") == "grid"
    assert command_line._parent_name("outputs/2026-11-28_23-59-59_tiny_vgg") == "tiny_vgg"
    assert (command_line._parent_name("multirun/a/seed-0/"), command_line._parent_name(None)) == ("seed-0", None)


def test_a_single_run_writes_its_directory(train_py: TrainPy, tmp_path: Path) -> None:
    ended = train_py(*TINY, "seed=3")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"^finished  test/acc ", ended.out, re.MULTILINE)
    run = only_run(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_resnet", run.name)
    assert result(run)["overrides"] == [*TINY, "seed=3"]
    written = {"config.yaml", "hydra.yaml", "identity.yaml", "overrides.yaml"}
    assert {path.name for path in (run / ".hydra").iterdir()} == written
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    # Once more in the same place: it is done. With another setting: the place is taken, and stays as it is.
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".log"}
    again = train_py(*TINY, "seed=3", f"hydra.run.dir={run}")
    assert (again.code, again.out) == (0, ended.out[ended.out.index("finished  test/acc ") :])
    other = train_py(*TINY, "seed=4", f"hydra.run.dir={run}")
    assert other.code == 2
    assert "holds a run of another configuration" in other.err
    assert {path: path.read_bytes() for path in before} == before


def test_a_stopped_run_goes_on_by_resume_or_in_its_own_directory(
    train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*TINY, "epochs=3")
    assert train_py(*command, "hydra.run.dir=whole").code == 0
    assert what_next(Status.FINISHED, tmp_path / "a b")[1].endswith(" run='a b'")
    assert what_next(Status.INTERRUPTED, Path.cwd() / "x")[1].endswith("resume=x")
    assert what_next(Status.DIVERGED, Path.cwd() / "x") == ["directory x"]
    from cifarlab.training.records.recorder import Recorder

    real = Recorder.on_train_epoch_end

    def stop(self: Any, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("power cut")
        real(self, trainer, pl_module)

    for place in ("one=a, b", "two"):
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "on_train_epoch_end", stop)
            ended = train_py(*command, f"hydra.run.dir={place}")
        assert ended.code == 1
        assert result(tmp_path / place)["status"] == "failed"
        assert "power cut" in ended.err
    # Killed before it could say anything: the config tells whose checkpoint that is.
    (tmp_path / "two" / "result.json").unlink()
    assert "another configuration" in train_py(*command, "lr=0.5", "hydra.run.dir=two").err
    assert train_py(*command, "hydra.run.dir=two").code == 0
    assert "takes no other override" in train_py("resume=one=a, b", "lr=0.5").err
    assert train_py("resume=one=a, b").code == 0
    whole = result(tmp_path / "whole")
    for place in ("one=a, b", "two"):
        assert result(tmp_path / place)["metrics"] == whole["metrics"]
        assert result(tmp_path / place)["key"] == whole["key"]


def test_the_users_own_model_is_resumed_only_where_the_command_line_allows_it(
    train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    (own / "model").mkdir(parents=True)
    (own / "model" / "mine.yaml").write_text("_target_: my_net.Net\n")
    (own / "my_net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, *, size: int = 4):\n"
        "        super().__init__(nn.AdaptiveAvgPool2d(size), nn.Flatten(), nn.Linear(3 * size**2, num_classes))\n"
    )
    monkeypatch.syspath_prepend(own)
    command = [argument for argument in TINY if not argument.startswith(("width", "blocks"))]
    flags = ("--config-dir", str(own), "model=mine", "hydra.run.dir=run")
    assert "only classes of cifarlab.models" in train_py(*flags, *command).err
    assert train_py(*flags, *command, "allow=[my_net]").code == 0
    (tmp_path / "run" / "result.json").unlink()
    assert "only classes of cifarlab.models" in train_py("resume=run").err
    assert train_py("resume=run", "allow=[my_net]").code == 0
    assert result(tmp_path / "run")["status"] == "finished"


def test_as_a_process(tmp_path: Path) -> None:
    """The one check that pays for the imports: exit code and streams are those of a real process."""
    command = [sys.executable, ROOT / "train.py", "model.kernal_size=5", "precision=bf17"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line.partition("=")[0] for line in done.stderr.splitlines()] == ["model.kernal_size", "trainer.precision"]
    assert list(tmp_path.iterdir()) == []


def test_overrides_may_stand_on_both_sides_of_a_flag(train_py: TrainPy) -> None:
    given = ["a=1", "-m", "b=2", "--config-dir", "mine", "c=3", "-cd=other", "hydra.run.dir=x"]
    assert flags_first(given) == ["-m", "--config-dir", "mine", "-cd=other", "a=1", "b=2", "c=3", "hydra.run.dir=x"]
    planned = train_py("data=digits", "plan=true", "-m", "lr=0.1,0.2")
    assert planned.code == 0, planned.err
    assert "lr-0.2" in planned.out


def test_what_is_no_override_is_told_how_it_is_typed(train_py: TrainPy, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for typed, said in (
        (("--model", "resnet"), "--model: there is no such flag; keys are typed without dashes: model=VALUE"),
        (("--epochs=3",), "--epochs=3: there is no such flag; keys are typed without dashes: epochs=3"),
        (("there",), "there: KEY=VALUE is needed, such as resume=there"),
        (("lr",), "lr: KEY=VALUE is needed, such as epochs=10"),
    ):
        ended = train_py(*typed)
        assert (ended.code, ended.out, ended.err.strip()) == (2, "", said)
    assert train_py("--cfg", "job", "data=digits").code == 0
