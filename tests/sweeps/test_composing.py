"""The config of a cell is the one that Hydra composes, however it was come by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import choices_of, typed
from cifarlab.job.explain import explain
from cifarlab.job.read import read_job, read_task
from cifarlab.sweeps.composing import Composer
from cifarlab.sweeps.grid import FOLD, Grid
from cifarlab.verbs import command_line

OF_GROUPS = (
    "model=resnet,tiny_vgg", "model=highway", "augment=none,[crop,cutout]", "augment=append", "optimizer=adam,sgd",
    "penalty=none,elastic_net", "schedule=choice(cosine,plateau)", "experiment=superconvergence,residual_cifar10",
    "experiment=sparse_gates", "data=digits,cifar10", "recipe=strong,report", "debug=fast", "search=tpe",
    "logger=none,[csv,tensorboard]", "model=resnt,resnet", "optimizer={lr:0.5},{lr:0.1}", "penalty=elastic_net",
)  # fmt: skip
OF_VALUES = (
    "lr=0.1,1e-3", "seed=range(3)", "dropout=0,0.5", "blocks=1,nine", "epochs=3", "epochs=1,2", "limit=null,100",
    "batch_size=32,64", "optimizer.momentum=0,0.9", "model.stages=[1,2],[2,1]", "finetune=null,{head_epochs:1}",
    "data.fold=1/3,2/3", "augment.cutout.size=8,16", "augment.crop={padding:2},{padding:3}", "kernel_size=3,${blocks}",
    "++label_smoothing=0.1,0.2", "+ema=0.9,0.99", "model={blocks:2,width:8}", "schedule.milestones=[],[0.5]",
    "data.root='a b,c','d=e'", "lambda=0.1,0.2", "lr.deep=1,2", "model._target_=cifarlab.models.resnet.ResNet",
    "data.source=null,{_target_:cifarlab.data.digits.Digits}", "kernal_size=3,5", "precision=32,bf16-mixed",
    "augment.flip=null,{axis:any}", "seed_init=${seed},7", "trainer={devices:1},{devices:2}", "activation=relu,'gelu'",
    "folds=2",
    "model.name=a,b", "alpha=${lambda},0.5", "optimizer.lr=${epochs},0.2", "tta=none,flip", "figures=[],[curves]",
)  # fmt: skip


def prepared(argument: str, conf: Path) -> str:
    """As a command line hands it on; as it is where that refuses it, for an experiment may say it too."""
    try:
        return command_line.prepare(argument, conf)
    except ConfigError:
        return argument


class Sweeps:
    """Hydra as a sweep has it."""

    def __init__(self, conf: Path) -> None:
        from hydra import initialize_config_dir

        command_line.register_resolvers()
        self.conf = conf
        self.context = initialize_config_dir(str(conf), version_base="1.3")

    @property
    def loader(self) -> ConfigLoader:
        return GlobalHydra.instance().config_loader()

    def config(self, arguments: Sequence[str]) -> DictConfig:
        """Of a sweep, with Hydra's own node."""
        return self.loader.load_configuration("train", list(arguments), RunMode.MULTIRUN)

    def by_hydra(self, config: DictConfig, overrides: Sequence[str]) -> Any:
        """A cell's config, choices, overrides and key; or what is wrong with it."""
        try:
            whole = self.loader.load_sweep_config(config, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            return (explain(error),)
        task = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
        return _said(task, choices_of(whole.hydra), typed(whole.hydra)), key_of(lambda: read_job(whole, whole.hydra))


def key_of(read: Any) -> Any:
    """A job's key and group; or its faults."""
    try:
        return read().identity
    except ConfigError as error:
        return error.faults


def ours(composer: Composer, overrides: Sequence[str]) -> Any:
    """What `Sweeps.by_hydra` gives, by the composer."""
    try:
        cell = composer.compose(overrides)
    except ConfigError as error:
        return error.faults
    said = _said(cell.config, cell.choices, cell.overrides)
    return said, key_of(lambda: read_task(cell.config, cell.choices, cell.overrides))


def _said(task: DictConfig, choices: Any, overrides: Sequence[str]) -> str:
    """All of it, the order of keys too."""
    flags = [OmegaConf.is_struct(task), OmegaConf.is_readonly(task)]
    return json.dumps([OmegaConf.to_container(task), choices, list(overrides), flags])


@pytest.fixture(scope="module")
def sweeps() -> Iterator[Sweeps]:
    made = Sweeps(command_line.CONF)
    with made.context:
        yield made


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(OF_GROUPS), max_size=3, unique_by=lambda text: text.partition("=")[0]),
    st.lists(st.sampled_from(OF_VALUES), max_size=5, unique_by=lambda text: text.partition("=")[0].lstrip("+")),
    st.randoms(use_true_random=False),
)
def test_every_cell_of_a_random_sweep_has_hydras_config(
    sweeps: Sweeps, groups: list[str], values: list[str], draw: Any
) -> None:
    given = [*groups, *values]
    draw.shuffle(given)
    try:
        grid = Grid.parse([prepared(each, sweeps.conf) for each in given], sweeps.loader)
        grid = grid.folded(2 if "folds=2" in given else None)
    except ConfigError:  # a fold beside folds
        return
    config = sweeps.config([])
    composer = Composer(config, sweeps.loader, [*grid.axes, FOLD])
    cells = grid.overrides()
    for cell in draw.sample(cells, min(2, len(cells))):
        assert ours(composer, cell) == sweeps.by_hydra(config, cell), cell


def test_what_is_typed_behind_a_swept_key_is_set_after_it(sweeps: Sweeps) -> None:
    """A search adds keys behind its axes; none of them may be overwritten by one."""
    config = sweeps.config([])
    cell = ("++finetune={head_epochs:1,lr:0.1}", "++finetune.lr=0.2")
    found = ours(Composer(config, sweeps.loader, ["finetune"]), cell)
    assert found == sweeps.by_hydra(config, cell)
    assert '"lr": 0.2' in found[0]


def test_hydra_composes_once_for_each_choice_of_options(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    config, loader = sweeps.config([]), sweeps.loader
    composed: list[list[str]] = []
    real = loader.load_sweep_config
    monkeypatch.setattr(
        loader, "load_sweep_config", lambda config, given: composed.append(given) or real(config, given)
    )
    grid = Grid.parse(["++epochs=3", "++lr=0.1,0.2,0.3", "model=resnet,wrn", "++seed=range(5)"])
    composer = Composer(config, loader, grid.axes)
    cells = [composer.compose(cell) for cell in grid.overrides()]
    assert composed == [["++epochs=3", "model=resnet"], ["++epochs=3", "model=wrn"]]
    assert len(cells) == 30
    assert cells[-1].overrides == ("epochs=3", "lr=0.3", "model=wrn", "seed=4")
    assert (cells[0].config.lr, cells[-1].config.lr, cells[-1].choices["model"]) == (0.1, 0.3, "wrn")


def test_options_that_cannot_be_composed_are_tried_once(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    config, loader = sweeps.config([]), sweeps.loader
    composed: list[int] = []
    real = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda config, given: composed.append(1) or real(config, given))
    composer = Composer(config, loader, ["++seed"])
    for seed in range(3):
        with pytest.raises(ConfigError, match=r"there is no such model\. Did you mean model=resnet"):
            composer.compose(["model=resnt", f"++seed={seed}"])
    assert len(composed) == 1
