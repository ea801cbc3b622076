"""Commit, uncommitted changes and device of a run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

from cifarlab.training.records import environment
from cifarlab.training.records.environment import Sittings, write_environment

CPU = torch.device("cpu")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with one module in it, which is taken for ours."""
    folder = tmp_path / "checkout"
    (folder / "package").mkdir(parents=True)
    module = folder / "package" / "environment.py"
    module.write_text("one = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(environment, "__file__", str(module))
    forget()
    yield folder
    forget()


def forget() -> None:
    environment._git_state.cache_clear()
    environment._uncommitted.cache_clear()


def written(directory: Path) -> dict:  # type: ignore[type-arg]
    values: dict = json.loads((directory / "environment.json").read_text())  # type: ignore[type-arg]
    return values


def test_a_clean_checkout_is_its_commit(checkout: Path, tmp_path: Path) -> None:
    assert write_environment(tmp_path, CPU, started="now", goes_on=False) == Sittings(1, "now")
    assert written(tmp_path)["git"] == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}
    assert not list(tmp_path.glob("*.diff"))


def test_what_was_not_committed_lies_beside_it(checkout: Path, tmp_path: Path) -> None:
    (checkout / "package" / "environment.py").write_text("one = 2\n")
    write_environment(tmp_path, CPU, started="now", goes_on=False)
    assert written(tmp_path)["git"]["dirty"] is True
    assert written(tmp_path)["git"]["diff"] == "uncommitted.diff"
    first = (tmp_path / "uncommitted.diff").read_text()
    assert "-one = 1\n+one = 2\n" in first
    git(checkout, "checkout", "-q", ".")
    subprocess.run(["git", "apply", tmp_path / "uncommitted.diff"], cwd=checkout, check=True)  # it is a patch
    (checkout / "package" / "environment.py").write_text("one = 3\n")
    forget()
    assert write_environment(tmp_path, CPU, started="later", goes_on=True) == Sittings(2, "now")
    assert written(tmp_path)["sittings"][0]["git"]["diff"] == "uncommitted-2.diff"
    assert "+one = 3" in (tmp_path / "uncommitted-2.diff").read_text()
    assert (tmp_path / "uncommitted.diff").read_text() == first


def test_a_long_diff_is_cut_and_says_so(checkout: Path, tmp_path: Path) -> None:
    (checkout / "package" / "environment.py").write_text("one = 'x'\n" * 200_000)
    write_environment(tmp_path, CPU, started="now", goes_on=False)
    diff = (tmp_path / "uncommitted.diff").read_bytes()
    assert 1_000_000 < len(diff) < 1_000_100
    assert diff.endswith(b" bytes]\n")
    assert b"[cut here: the first 1,000,000 of 2,200," in diff[-100:]


def test_a_checkout_around_an_installed_package_is_not_ours(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / "site-packages" / "environment.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr(environment, "__file__", str(installed))
    (checkout / "package" / "environment.py").write_text("a secret of somebody else\n")
    write_environment(tmp_path, CPU, started="now", goes_on=False)
    assert written(tmp_path)["git"] == {"commit": None, "dirty": None}
    assert not list(tmp_path.glob("*.diff"))


@pytest.mark.parametrize("damage", ["", "[1]", '{"sittings": 3}', "\x00"])
def test_a_damaged_file_is_written_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "environment.json").write_text(damage)
    assert write_environment(tmp_path, CPU, started="now", goes_on=True) == Sittings(1, "now")
    assert written(tmp_path)["started"] == "now"
    assert written(tmp_path)["packages"]["torch"] == metadata.version("torch")


def test_a_checkout_of_another_owner_yields_its_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch: it then refuses as dubious
    with pytest.raises(subprocess.CalledProcessError):
        git(checkout, "rev-parse", "HEAD")
    write_environment(tmp_path, CPU, started="now", goes_on=False)
    assert written(tmp_path)["git"] == {"commit": commit, "dirty": False}
