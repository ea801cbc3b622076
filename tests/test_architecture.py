"""The house: imports only go down, and what must stay free of torch or Hydra stays free of it."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "cifarlab"
# The floor of each room. A module may import its own room and rooms of lower floors, never its neighbours.
FLOORS = {
    "reading": -1,
    "data": 0,
    "models": 0,
    "figures": 0,
    "probes": 0,
    "result": 0,
    "heartbeat": 1,
    "plan": 1,
    "training": 2,
    "summary": 2,
    "job": 3,
    "evaluation": 4,
    "reproduction": 4,
    "sweeps": 4,
    "verbs": 5,
    "__main__": 6,
}
KNOWS_HYDRA = {"sweeps", "verbs"}
HEAVY = ("torch", "torchvision", "lightning", "timm", "hydra")
EXPERIMENTS = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file; `from package import module` names the module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides where it goes"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str | None:
    """``cifarlab.data.cifar.CIFAR10`` -> ``data``; None outside the package."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == PACKAGE.name else None


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = {name: sorted(set(imported(path))) for name, path in SOURCES.items()}


def test_every_module_has_a_room() -> None:
    rooms = {room(name) for name in SOURCES if name != PACKAGE.name}
    assert rooms <= set(FLOORS)
    assert not [name for name in SOURCES if re.search(r"util|helper|common|misc", name)]


def test_imports_only_go_down() -> None:
    faults = [
        f"{name} imports {target}"
        for name, targets in IMPORTS.items()
        for target in targets
        if (there := room(target)) is not None
        and there != (here := room(name))
        and (here not in FLOORS or there not in FLOORS or FLOORS[there] >= FLOORS[here])
    ]
    assert faults == []


def test_no_circle_of_modules() -> None:
    graph = {
        name: {owner for target in targets for owner in (target, target.rpartition(".")[0]) if owner in SOURCES}
        - {name, name.partition(".")[0]}
        for name, targets in IMPORTS.items()
    }
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("cifarlab.result") < order.index("cifarlab.training.run") < order.index("cifarlab.verbs.train")


def test_only_verbs_and_sweeps_know_hydra() -> None:
    users = {room(name) for name, targets in IMPORTS.items() for target in targets if target.split(".")[0] == "hydra"}
    assert users <= KNOWS_HYDRA
    assert users, "the search found no use of Hydra at all"


def test_hydra_plugins_is_only_a_doorway() -> None:
    for path in (PACKAGE.parent / "hydra_plugins").rglob("*.py"):
        assert {room(target) for target in imported(path)} == {"sweeps"}, path


@pytest.mark.parametrize("part", ["summary", "figures", "verbs.summarize"])
def test_reading_back_needs_neither_torch_nor_hydra(part: str) -> None:
    modules = [name for name in SOURCES if f"{name}.".startswith(f"cifarlab.{part}.")]
    assert modules
    code = f"import sys, {', '.join(modules)}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_states_what_it_claims(path: Path) -> None:
    """Header: what it is, the command, the result to expect as a number, the time it takes and on what."""
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first == "# @package _global_"
    header = "\n".join(line for line in rest[: next(i for i, line in enumerate(rest) if not line.startswith("#"))])
    assert re.search(r"^# What: +\S", header, re.MULTILINE)
    assert re.search(rf"^# Command: +python train\.py .*experiment={re.escape(path.stem)}\b", header, re.MULTILINE)
    for field in ("Expected", "Time"):
        claim = re.search(rf"^# {field}: (.*\n(?:#  .*\n?)*)", header + "\n", re.MULTILINE)
        assert claim is not None, field
        assert re.search(r"\d", claim[1]), f"{field}: gives no number"


def test_there_is_an_experiment() -> None:
    assert "demo" in {path.stem for path in EXPERIMENTS}
