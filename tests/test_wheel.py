"""What `pip install` of the wheel gives: the package, the config tree inside it, and the console command."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel holds; built without a network, in this environment."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; it comes with the extra dev")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def cifarlab(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "cifarlab", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_whole_config_tree_and_the_console_command(installed: Path) -> None:
    there = {path.relative_to(installed / "cifarlab") for path in (installed / "cifarlab" / "conf").rglob("*.yaml")}
    assert there == {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml")}
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "cifarlab = cifarlab.verbs.console:main" in entry_points.read_text(encoding="utf-8").splitlines()


def test_train_composes_from_the_packaged_tree_outside_a_checkout(installed: Path, tmp_path: Path) -> None:
    group = installed / "cifarlab" / "conf" / "experiment" / "only_in_the_wheel.yaml"
    group.write_text("# @package _global_\nlr: 0.0123\n", encoding="utf-8")
    done = cifarlab(installed, tmp_path, "train", "experiment=only_in_the_wheel", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "lr: 0.0123" in done.stdout.splitlines()


def test_a_cell_runs_and_lies_in_the_current_folder(installed: Path, tmp_path: Path) -> None:
    small = ("data=digits", "model=tiny_vgg", "epochs=1", "limit=60", "trainer.progress_bar=false", "sweep=w")
    done = cifarlab(installed, tmp_path, "train", "-m", *small, "seed=3")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "multirun").iterdir()] == ["w"]
    assert len(list((tmp_path / "multirun" / "w").rglob("result.json"))) == 1


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_alone_it_names_the_verbs(installed: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = cifarlab(installed, tmp_path, *arguments)
    assert done.returncode == 0
    named = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert named == ["train", "evaluate", "visualize", "summarize", "reproduce"]


@pytest.mark.parametrize("arguments", [("nope",), ("train", "model=nope"), ("evaluate", "run=nowhere"), ("summarize",)])
def test_what_was_typed_wrong_is_exit_code_2(installed: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = cifarlab(installed, tmp_path, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_summarize_imports_no_torch(installed: Path, tmp_path: Path) -> None:
    code = "import sys, cifarlab.verbs.console, cifarlab.verbs.commands.summarize; print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
