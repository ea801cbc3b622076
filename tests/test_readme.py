"""The README fits on three screens; docs/knobs.md is what the signatures say (this file, run, writes it anew)."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from omegaconf import OmegaConf

from cifarlab.data.augment import Augment
from cifarlab.data.module import ImageData
from cifarlab.job.configure import allowed, config_key, config_parameters
from cifarlab.job.nodes import SHORT_NAMES
from cifarlab.job.settings import Settings
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.settings import SweepSettings
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.verbs.help import documented, suited

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
KNOBS = ROOT / "docs" / "knobs.md"
BEGIN, END = "<!-- knobs: written by python tests/test_readme.py -->\n", "<!-- end of knobs -->"
COMMAND = re.compile(r"(?:^|`)python (\w+\.py|-m benchmarks\.\w+)\b", re.MULTILINE)


def load(path: Path) -> dict[str, Any]:
    """A YAML file as it is written, interpolations and all."""
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def locate(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def written(value: Any) -> str:
    """A value as it is typed after `=`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    return str(value)


def values_of(target: Callable[..., Any], node: Mapping[str, Any], group: str) -> Iterator[tuple[str, str]]:
    """``(key, value)`` of every knob of a node: by its short name where it has one, its own default or the YAML's."""
    for name, parameter in config_parameters(target).items():
        key = config_key(name)
        shown = key if not group or key in SHORT_NAMES.get(group, ()) else f"{group}.{key}"
        yield shown, written(node.get(key, parameter.default))


def knobs_of_every_run() -> Iterator[str]:
    """A row a knob of what every run has: settings, data, trainer; and of what a sweep has."""
    yield "| knob | default | allowed | |\n| --- | --- | --- | --- |"
    parts = [(Settings, {}, ""), (ImageData, load(CONF / "data" / "cifar10.yaml"), "data")]
    parts += [(TrainerSettings, load(CONF / "trainer" / "default.yaml"), "trainer"), (SweepSettings, {}, "")]
    parts += [(SearchSettings, load(CONF / "search" / "none.yaml"), "search")]
    for target, node, group in parts:
        texts = documented(target)
        for (key, value), (name, parameter) in zip(
            values_of(target, node, group), config_parameters(target).items(), strict=True
        ):
            if key == "data.source":
                continue
            text = texts[name].replace("``", "`")
            yield f"| `{key}` | `{value}` | {allowed(parameter.annotation)} | {text} |"


def knobs_of_options() -> Iterator[str]:
    """A row an option of a group, with its knobs and what they are unless set."""
    yield "| option | its knobs |\n| --- | --- |"
    for group in ("model", "optimizer", "schedule", "penalty"):
        for path in sorted((CONF / group).glob("*.yaml")):
            node = load(path)
            yield option(group, path, list(values_of(locate(node["_target_"]), node, group)))
    for path in sorted((CONF / "hydra" / "launcher").glob("*.yaml")):
        node = load(path)
        yield option("hydra/launcher", path, list(values_of(locate(node["_target_"]), node, "hydra.launcher")))
    for path in sorted((CONF / "augment").glob("*.yaml")):
        pairs = []
        for name, node in load(path).items():
            if not isinstance(node, dict):
                pairs.append((f"augment.{name}", written(node)))
                continue
            annotation = config_parameters(Augment)[name].annotation
            operation = next(item for item in (annotation, *get_args(annotation)) if inspect.isclass(item))
            pairs += values_of(operation, node, f"augment.{name}")
        yield option("augment", path, pairs)


def option(group: str, path: Path, pairs: list[tuple[str, str]]) -> str:
    return f"| `{group}={path.stem}` | {' '.join(f'`{key}={value}`' for key, value in pairs) or 'none'} |"


def what_suits() -> Iterator[str]:
    """A row for each choice that brings something along."""
    yield "| where nothing is typed, nor an experiment or recipe says it | |\n| --- | --- |"
    yield from (f"| `{chosen}` | `{said}` |" for chosen, said in suited([CONF]))


def table() -> str:
    return "\n".join([*knobs_of_every_run(), "", *knobs_of_options(), "", *what_suits(), ""])


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def knobs() -> str:
    return KNOBS.read_text(encoding="utf-8")


def test_readme_fits_on_three_screens() -> None:
    lines = [max(1, math.ceil(len(line) / 120)) for line in readme().splitlines()]
    assert sum(lines) <= 150, "three screens of 50 lines and 120 columns"


def test_table_of_knobs_is_what_the_signatures_say() -> None:
    written_down = knobs().partition(BEGIN)[2].partition(END)[0]
    assert written_down.splitlines() == table().splitlines(), "write it anew with: python tests/test_readme.py"


def test_every_knob_is_explained() -> None:
    for target in (Settings, SweepSettings, ImageData, TrainerSettings, SearchSettings, Augment):
        assert set(config_parameters(target)) <= set(documented(target)), target


def test_files_that_the_readme_names_are_there() -> None:
    named = set(COMMAND.findall(readme()))
    assert {"train.py", "evaluate.py", "summarize.py"} <= named
    for name in named:
        path = name.removeprefix("-m ").replace(".", "/") + ".py" if name.startswith("-m") else name
        assert (ROOT / path).is_file(), name
    paths = re.findall(r"`((?:src/)?(?:conf|cifarlab|tests|benchmarks)/[\w/.]*)`", readme())
    assert paths
    assert [path for path in paths if not ((ROOT / path).exists() or (ROOT / "src" / path).exists())] == []


def test_experiments_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"experiment=([a-z]\w*)", readme()))
    assert "residual_cifar10" in named
    assert named <= {path.stem for path in (CONF / "experiment").glob("*.yaml")}


if __name__ == "__main__":
    before, _, rest = knobs().partition(BEGIN)
    after = rest.partition(END)[2]
    KNOBS.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
