"""The record of one run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cifarlab.result import Identity, Result, Status, digest, write_json, write_text


def a_result(**values: object) -> Result:
    """A finished run."""
    identity = Identity(key="k", group="g", knobs={"blocks": 3, "dropout": None}, overrides=("blocks=3",), seed=7)
    result = Result.begun(identity)
    result.status = "finished"
    for name, value in values.items():
        setattr(result, name, value)
    return result


def test_a_run_has_failed_until_it_says_otherwise() -> None:
    begun = Result.begun(Identity(key="k", group="g", overrides=("a=1",), seed=0), error="why")
    assert (begun.status, begun.error, begun.seed, begun.overrides) == ("failed", "why", 0, ["a=1"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    result = a_result(metrics={"val/acc": 0.1 + 0.2}, selected={"by": "val/acc", "epoch": 2})
    result.write(tmp_path)
    assert Result.read(tmp_path) == result
    assert json.loads((tmp_path / "result.json").read_text())["schema"] == 2


def test_numbers_that_json_cannot_hold_become_null(tmp_path: Path) -> None:
    a_result(metrics={"train/loss": math.nan, "val/loss": math.inf, "val/acc": 0.5}).write(tmp_path)
    text = (tmp_path / "result.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["metrics"]
    assert metrics == {"train/loss": None, "val/loss": None, "val/acc": 0.5}


def test_nan_becomes_null_at_any_depth(tmp_path: Path) -> None:
    write_json(tmp_path / "deep.json", {"a": [{"b": (1.0, math.nan)}]})
    assert json.loads((tmp_path / "deep.json").read_text()) == {"a": [{"b": [1.0, None]}]}


def test_a_damaged_file_and_another_schema_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Result.read(tmp_path)
    (tmp_path / "result.json").write_text('{"schema": 1, ')
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        Result.read(tmp_path)
    (tmp_path / "result.json").write_text('{"schema": 3}')
    with pytest.raises(ValueError, match="has schema 3; this version reads 1 and 2"):
        Result.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "\xff\xfe", '{"schema": 2}', '{"schema": [2]}', "[" * 100_000, '{"schema": 2, "status": "well"}'],
    ids=range(7),
)
def test_whatever_is_no_result_is_damaged_and_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"result\.json (is damaged|has schema)"):
        Result.read(tmp_path)


def test_a_result_of_the_first_schema_is_read(tmp_path: Path) -> None:
    old = {"schema": 1, "status": "diverged", "key": "k", "group": "g", "overrides": [], "knobs": {}, "seed": 0}
    (tmp_path / "result.json").write_text(json.dumps(old))
    read = Result.read(tmp_path)
    assert (read.status, read.status == "diverged", read.sittings) == (Status.DIVERGED, True, 1)


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    a_result().write(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"from_the_future": 1}))
    assert Result.read(tmp_path).key == "k"


def test_a_crash_in_the_middle_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def full(file: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new and longer")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    """The same for a process that is given no time to clean up."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom cifarlab.result import write_text\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_text(Path(sys.argv[1]), 'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], env=os.environ, check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    one = digest({"a": 1, "b": {"c": [1, 2], "d": None}})
    assert one == digest({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert len(one) == 16
    assert int(one, 16) >= 0


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": True}, {"a": [1]}, {"b": 1}, {"a": 1.0}])
def test_different_descriptions_have_different_digests(other: dict[str, object]) -> None:
    assert digest(other) != digest({"a": 1})
