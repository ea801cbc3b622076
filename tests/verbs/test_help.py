"""The help page says what the signatures say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from cifarlab.job.configure import config_parameters
from cifarlab.models.residual import ResidualCNN
from cifarlab.verbs.help import documented, headline, show_help

CONF = Path(__file__).resolve().parents[2] / "conf"


def test_help_lists_knobs_with_range_and_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--help", "model=tiny_vgg", "penalty=elastic_net"])
    show_help(CONF)
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.split()[:1] == ["lambda"])
    assert row.split()[1:6] == ["0.01", "a", "number", "from", "0"]
    assert "kernel_size" not in text.partition("At the top")[2]
    said = " ".join(text.split())  # a long line is broken
    for experiment in (CONF / "experiment").glob("*.yaml"):
        assert f"{experiment.stem} {headline(experiment)}" in said


@pytest.mark.parametrize("launcher", ["local", "slurm", "ray"])
def test_help_lists_every_key_of_a_launcher(
    launcher: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--help", f"hydra/launcher={launcher}"])
    show_help(CONF)
    text = capsys.readouterr().out
    assert "hydra/launcher basic, local, ray, slurm" in " ".join(text.split())
    target = OmegaConf.load(CONF / "hydra" / "launcher" / f"{launcher}.yaml")["_target_"]
    texts = documented(get_class(target))
    keys = config_parameters(get_class(target))
    assert keys.keys() == texts.keys()
    for key in keys:
        row = next(line for line in text.splitlines() if line.split()[:1] == [f"hydra.launcher.{key}"])
        assert texts[key].replace("``", "").split()[0] in row


def test_every_knob_of_the_residual_cnn_is_documented() -> None:
    texts = documented(ResidualCNN)
    assert set(texts) == {"blocks", "repeats", "kernel_size", "width", "dropout", "activation", "downsample"}
    assert texts["blocks"].startswith("residual blocks, or with ``repeats`` stages of them")


def test_a_headline_is_the_first_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("# @package _global_\n# What: Residual CNN on CIFAR-10. More follows.\nseed: 0\n")
    assert headline(path) == "Residual CNN on CIFAR-10."
