"""What suits a model or a data set: in force where nothing else was said, in each cell by its own choices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from cifarlab.job.job import Job
from cifarlab.verbs.help import suited

MakeJob = Callable[..., Job]
CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize(
    ("overrides", "lr"),
    [
        (("model=tiny_vgg",), 0.02),
        (("model=tiny_vgg", "lr=0.5"), 0.5),
        (("model=tiny_vgg", "optimizer.lr=0.5"), 0.5),
        (("model=tiny_vgg", "optimizer=adam"), 0.001),
        (("model=resnet",), 0.1),
        (("experiment=vgg19_schedule", "model=tiny_vgg"), 0.03),  # the experiment's own
        (("experiment=tiny_vgg", "optimizer=sgd"), 0.02),
        (("model=tiny_vgg", "recipe=strong"), 0.1),
    ],
)
def test_a_rate_that_suits_gives_way_to_one_that_was_said(
    compose_job: MakeJob, overrides: tuple[str, ...], lr: float
) -> None:
    assert compose_job(*overrides).knobs["lr"] == lr


@pytest.mark.parametrize(
    ("overrides", "augment"),
    [
        (("data=digits",), "crop"),
        (("data=digits", "augment=flip"), "flip"),
        (("data=digits", "augment=none"), "none"),
        (("experiment=residual_cifar10", "data=digits"), "crop+flip"),  # the experiment's own
        ((), "crop+flip"),
    ],
)
def test_digits_are_not_mirrored_unless_that_was_said(
    compose_job: MakeJob, overrides: tuple[str, ...], augment: str
) -> None:
    assert compose_job(*overrides).knobs["augment"] == augment


def test_each_cell_of_a_sweep_has_what_suits_it(train_py: Callable[..., Any], tiny: tuple[str, ...]) -> None:
    ended = train_py("-m", *tiny, "model=tiny_vgg,resnet", "sweep=suits", "limit=20", "figures=[]")
    assert (ended.code, ended.err) == (0, "")
    results = [json.loads(path.read_text()) for path in Path("multirun/suits").glob("*/result.json")]
    rates = {each["knobs"]["model"]: each["knobs"]["lr"] for each in results}
    assert rates == {"tiny_vgg": 0.02, "resnet": 0.1}
    assert {each["knobs"]["augment"] for each in results} == {"crop"}


def test_what_suits_is_of_a_model_and_an_optimizer_that_are_there() -> None:
    """A file of another name would never be read."""
    named = {chosen for chosen, _ in suited([CONF])}
    for file in (CONF / "suits").glob("*.yaml"):
        model, _, optimizer = file.stem.rpartition("_")
        assert (CONF / "model" / f"{model}.yaml").is_file()
        assert f"model={model} optimizer={optimizer}" in named
        assert file.read_text().startswith("# @package optimizer\n")
        assert set(OmegaConf.load(file)) == {"lr"}
    assert "data=digits" in named
