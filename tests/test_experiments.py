"""Every experiment composes, takes other data and trains; every cell of a grid can be run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from cifarlab.job.job import Job
from cifarlab.sweeps.grid import Grid

MakeJob = Callable[..., Job]
CONF = Path(__file__).resolve().parents[1] / "conf"
PATHS = {path.stem: path for path in sorted((CONF / "experiment").glob("*.yaml"))}
# How many cells a grid has, of one seed.
GRIDS = {
    "augmentations": 6,
    "convnet_optimizer_activation": 4,
    "demo": 4,
    "gates_depth": 9,
    "grid_blocks_kernel": 12,
    "grid_depth_kernel": 12,
    "grid_elastic_dropout": 27,
    "robustness": 4,
    "superconvergence": 3,
}
# What the reports train (docs/reports.md); their other rows are pictures, which visualize.py draws.
ROWS = {
    *(f"R1.{row}" for row in (1, 2, 3)),
    *(f"R2.{row}" for row in range(1, 6)),
    *(f"R3.{row}" for row in range(1, 8)),
    *(f"R4.{row}" for row in (2, 3, 4, 7, 8, 9)),
    *(f"R5.{row}" for row in range(2, 7)),
}
# Two steps of 20 digits; four where a picture comes twice.
SHORT = (
    "data=digits", "++limit=40", "++batch_size=20", "++epochs=1", "++precision=32", "++trainer.accelerator=cpu",
    "++trainer.progress_bar=false", "++figures=[]", "++checkpoints=none", "logger=none",
)  # fmt: skip
# What makes a net small that has no `width`.
SMALL = {
    "speedrun_cpu": ("++model.widths=[4,4,4]",),
    "speedrun_cpu94": ("++model.widths=[4,4,4]",),
    "transfer": (
        "++model.pretrained=false", "++model.name=test_resnet", "++model.stages=2", "++model.hidden=[8]"
    ),
}  # fmt: skip


def first_cell(name: str) -> list[str]:
    """The first value of each axis of a grid, as overrides; nothing for a single run."""
    params = OmegaConf.select(OmegaConf.load(PATHS[name]), "hydra.sweeper.params") or {}
    (cell, *_) = Grid.parse([f"{key}={value}" for key, value in params.items()]).overrides()
    return [item if (CONF / item.partition("=")[0]).is_dir() else f"++{item}" for item in cell]


def header(name: str) -> str:
    """An experiment's comments as one line."""
    lines = [line for line in PATHS[name].read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return " ".join(line.lstrip("# ") for line in lines)


@pytest.mark.parametrize("name", PATHS)
def test_it_trains(compose_job: MakeJob, tmp_path: Path, name: str) -> None:
    """A single run, or the first cell of a grid; in float32 and narrow, on a few digits."""
    size = SMALL.get(name, ("++width=4",))
    job = compose_job(f"experiment={name}", *first_cell(name), *SHORT, *size)
    result = job.execute(tmp_path, aloud=False)
    assert (result.status, result.error) == ("finished", None)
    assert result.epochs == job.settings.epochs
    assert {"train/loss", "test/loss", "test/acc"} <= set(result.metrics)


@pytest.mark.parametrize("name", PATHS)
def test_a_grid_is_known_with_the_number_of_its_cells(name: str) -> None:
    assert (OmegaConf.select(OmegaConf.load(PATHS[name]), "hydra.mode") == "MULTIRUN") == (name in GRIDS)


@pytest.mark.parametrize("name", GRIDS)
def test_every_cell_of_a_grid_can_be_run(train_py: Callable[..., Any], name: str) -> None:
    """All are composed and built without memory; so a bad value of any cell is refused here."""
    ended = train_py(f"experiment={name}", "data=digits", "seed=0", "plan=true")
    assert (ended.code, ended.err) == (0, "")
    assert len(re.findall(r"\bmissing\b", ended.out)) == GRIDS[name]


@pytest.mark.parametrize("short", ["epochs=1", "debug=fast"])
def test_a_grid_over_lengths_is_made_short_like_any_other(train_py: Callable[..., Any], short: str) -> None:
    ended = train_py("experiment=superconvergence", "data=digits", "plan=true", short)
    names = re.findall(r"\S*schedule-\w+\S*", ended.out)
    assert (ended.code, ended.err, len(names)) == (0, "", 3)
    assert not any("epochs" in name for name in names)


def test_every_row_of_the_reports_that_is_trained_has_an_experiment() -> None:
    named: set[str] = set()
    for name in PATHS:
        for report, first, last in re.findall(r"\bR(\d)\.(\d)(?:-R\d\.(\d))?", header(name).partition("Command:")[0]):
            named |= {f"R{report}.{row}" for row in range(int(first), int(last or first) + 1)}
    assert ROWS - named == set()


def test_collapse_and_cure_differ_in_the_schedule_alone(compose_job: MakeJob) -> None:
    collapse, cure = (compose_job(f"experiment={name}") for name in ("vgg19_collapse", "vgg19_schedule"))
    differing = {group for group, part in collapse.parts.items() if part.plain() != cure.parts[group].plain()}
    assert differing == {"schedule"}
    assert collapse.parts["model"].arguments["batch_norm"] is False


@pytest.mark.parametrize("name", PATHS)
def test_it_takes_the_strong_recipe(compose_job: MakeJob, name: str) -> None:
    """Whatever an experiment says to its own optimizer and schedule goes with them; its net stays."""
    job = compose_job(f"experiment={name}", "recipe=strong")
    assert (job.knobs["optimizer"], job.knobs["schedule"], job.knobs["tta"]) == ("muon", "linear", "mirror")
    assert job.parts["model"].plain() == compose_job(f"experiment={name}").parts["model"].plain()


def test_todays_recipe_has_its_own_length_and_what_is_typed_wins(compose_job: Callable[..., Job]) -> None:
    """The longest that were asked for: ResNet-20 60 epochs, ResNet-18 30, VGG-19 40, tiny nets 20."""
    most = {"resnet20": 60, "resnet18": 30, "vgg19": 40, "tiny": 20}
    lengths = {path.stem: OmegaConf.load(path)["epochs"] for path in (CONF / "length").glob("*.yaml")}
    assert {name.removeprefix("strong_") for name in lengths} <= set(PATHS)
    for start, epochs in most.items():
        there = [length for name, length in lengths.items() if name.startswith(f"strong_{start}")]
        assert there, start
        assert max(there) <= epochs
    assert compose_job("experiment=resnet20", "recipe=strong").settings.epochs == lengths["strong_resnet20"]
    assert compose_job("experiment=resnet20", "recipe=strong", "epochs=3").settings.epochs == 3
    assert compose_job("experiment=resnet20").settings.epochs == 200
    assert compose_job("experiment=residual_cifar10", "recipe=strong").settings.epochs == 8
    assert compose_job("recipe=strong").settings.epochs == compose_job().settings.epochs
