"""The lock files of ``make demo`` and ``make test`` are what pyproject.toml asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)(?: ; (.+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(name: str) -> dict[str, list[str]]:
    """Package -> its versions: one, or one for each marker."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.mark.parametrize(("name", "extras"), [("demo", []), ("test", ["dev"])])
def test_a_lock_holds_all_that_is_asked_for(name: str, extras: list[str]) -> None:
    build = (ROOT / "requirements" / "build.in").read_text(encoding="utf-8").splitlines()
    asked = [*PROJECT["dependencies"], *(line for line in build if not line.startswith("#"))]
    asked += [each for extra in extras for each in PROJECT["optional-dependencies"][extra]]
    locked = pins(name)
    for requirement in map(Requirement, asked):
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} is not in requirements/{name}.txt: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: make lock"


@pytest.mark.parametrize("name", ["demo", "test"])
def test_each_package_has_hashes_and_no_line_says_where_it_lies(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert PIN.match(line) or HASH.match(line) or line.lstrip().startswith("#"), line
        assert not PIN.match(line) or HASH.match(following), f"{line} has no hash"
    assert len(pins(name)) > 50


def test_what_the_demo_needs_is_a_part_of_what_the_tests_need() -> None:
    demo, test = pins("demo"), pins("test")
    assert {name: test.get(name) for name in demo} == demo


def test_the_build_without_cuda_takes_pytorch_from_its_own_index_and_the_rest_from_the_lock(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    command = ["make", "-n", "demo", "TORCH=cpu", "LOCKED=1"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("sed ")]
    (torch_of, _, rest_of, *_) = re.split(r" \| | && ", line)
    assert "--index-url https://download.pytorch.org/whl/cpu" in line
    assert "--require-hashes --no-deps --requirement .venv/demo.txt" in line
    (tmp_path / ".venv").mkdir()
    named = subprocess.check_output(torch_of, cwd=tmp_path, shell=True, text=True).split()
    subprocess.check_call(rest_of, cwd=tmp_path, shell=True)
    of = {
        name: set(re.findall(r"^[a-z][\w.-]*==\S+", (tmp_path / name).read_text(), re.MULTILINE))
        for name in ("requirements/demo.txt", ".venv/demo.txt")
    }
    left_out = of["requirements/demo.txt"] - of[".venv/demo.txt"]
    assert {name.partition("==")[0] for name in named} == {"torch", "torchvision"}
    assert set(named) < left_out
    assert all(name.startswith(("nvidia-", "cuda-", "triton==")) for name in left_out - set(named))
    assert "torchmetrics" in {name.partition("==")[0] for name in of[".venv/demo.txt"]}
