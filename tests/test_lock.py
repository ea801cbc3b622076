"""The lock files of ``make demo`` and ``make test`` are what pyproject.toml asks for."""

from __future__ import annotations

import re
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
