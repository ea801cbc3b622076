"""A constructor known by its source says what the imported one says."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cifarlab.job.configure import ConfigError, allowed, config_parameters, describe, locate
from cifarlab.job.nodes import CALLS, ROOMS
from cifarlab.job.source import Constructor, Unreadable, constructor, constructors

ROOT = Path(__file__).resolve().parents[2]
NAMED = {
    path
    for file in (ROOT / "conf").rglob("*.yaml")
    for path in re.findall(r"_target_: *(cifarlab\.[\w.]+)", file.read_text(encoding="utf-8"))
}
ALL = {
    *(constructor(*path.rsplit(".", 1)) for path in NAMED),
    *(
        option
        for room in ROOMS.values()
        if room.startswith("cifarlab.training")
        for option in constructors(room).values()
    ),
    *CALLS.values(),
}
NESTED = {
    part
    for each in ALL
    for parameter in each.parameters.values()
    for part in (parameter.annotation, *getattr(parameter.annotation, "__args__", ()))
    if isinstance(part, Constructor)
}


@pytest.mark.parametrize("known", sorted(ALL | NESTED, key=lambda each: each.lineage), ids=lambda each: each.__name__)
def test_source_and_import_agree(known: Constructor) -> None:
    real = known.load()
    assert (known.__module__, known.__qualname__) == (real.__module__, real.__qualname__)
    assert inspect.getdoc(known) == (real.__doc__ and inspect.cleandoc(real.__doc__))
    assert known.version == getattr(real, "version", 1)
    assert known.is_class == inspect.isclass(real)
    assert known.is_abstract == inspect.isabstract(real)
    parameters = config_parameters(real)
    assert list(known.parameters) == list(parameters)
    for name, parameter in parameters.items():
        assert known.parameters[name].default == parameter.default
        assert allowed(known.parameters[name].annotation) == allowed(parameter.annotation)
        if not NESTED & {
            *getattr(known.parameters[name].annotation, "__args__", ()),
            known.parameters[name].annotation,
        }:
            assert known.parameters[name].annotation == parameter.annotation


def test_what_is_covered() -> None:
    assert len(ALL) > 40
    assert {each.__name__ for each in NESTED} >= {"Crop", "CutMix", "Source"}
    assert {each.version for each in ALL} == {1, 2}
    assert {each.is_abstract for each in ALL | NESTED} == {True, False}


def test_one_that_is_pickled_is_the_same_afterwards() -> None:
    crop = constructor("cifarlab.data.augment.windows", "Crop")
    assert pickle.loads(pickle.dumps(crop)) is crop


def test_what_the_source_does_not_tell() -> None:
    for module, name in (
        ("cifarlab.models.resnet", "torch"),
        ("cifarlab.models.resnet", "Nothing"),
        ("torch.nn", "ReLU"),
    ):
        with pytest.raises(Unreadable):
            constructor(module, name)
    with pytest.raises(Unreadable):
        constructor("cifarlab.models.nowhere", "Net")


def test_a_kind_is_known_by_its_lineage() -> None:
    node = {"_target_": "cifarlab.data.module.ImageData", "source": {"_target_": "cifarlab.data.augment.windows.Crop"}}
    with pytest.raises(
        ConfigError, match=r"data\.source\._target_=cifarlab\.data\.augment\.windows\.Crop: a kind of Source is"
    ):
        describe(node, key="data", room="cifarlab.data")
    with pytest.raises(ConfigError, match="Source is abstract"):
        locate("cifarlab.data.sources.Source", key="data.source", room="cifarlab.data", allow=())


def test_help_and_refusals_import_no_torch_and_a_run_only_what_it_needs(tmp_path: Path) -> None:
    """In one process: torch, Lightning, pandas take seconds, which who mistypes a key need not wait for."""
    program = """
import importlib, sys
for line in (
    "train model=tiny_vgg --help", "train optimzer=adam", "train -m lr=0.1,abc", "train zip=[lr]",
    "train resume=nowhere", "evaluate run=nowhere", "visualize --help", "visualize figure=nothing",
    "summarize --help", "summarize nowhere",
):
    verb, *sys.argv[1:] = line.split()
    sys.argv[0] = f"{verb}.py"
    try:
        code = importlib.import_module(f"cifarlab.verbs.commands.{verb}").main()
    except SystemExit as end:
        code = end.code
    assert (code in (None, 0)) if "--help" in line else (code in (1, 2)), (line, code)
    slow = {"torch", "lightning", "torchvision", "timm", "optuna"} & set(sys.modules)
    if line != "summarize nowhere":  # which has the table of runs to read
        slow |= {"pandas", "matplotlib", "scipy", "numpy"} & set(sys.modules)
    assert not slow, f"{line} imports {slow}"
from cifarlab.verbs.spared import spare_imports
spare_imports()
import cifarlab.training.run, cifarlab.data.digits
dragged = {"torchvision", "scipy.signal", "matplotlib.pyplot", "sklearn", "timm"} & set(sys.modules)
assert not dragged, f"a run imports {dragged} before its first step"
from torchmetrics.utilities.imports import _TORCHVISION_AVAILABLE
assert _TORCHVISION_AVAILABLE, "it is missing while torchmetrics is imported, not for good"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []
