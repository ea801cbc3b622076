"""What lies in a directory may be damaged, or a stranger's: it is named, costs its own row, and asks for nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen, write_job
from cifarlab.reading import MOST_DIGITS, read_json
from cifarlab.result import Result
from cifarlab.summary.load import load
from cifarlab.summary.write import csv_text, write_summary
from cifarlab.sweeps.ledger import Ledger, read_outcome

DAMAGED = {
    "odd bytes": b"\xff\xfe{}",
    "nothing": b"",
    "half of it": b'{"schema": 2, "status": "fin',
    "too deep": b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "400 digits": b'{"schema": 2, "metrics": {"test/acc": 1' + b"0" * 400 + b"}}",
    "400 digits behind the point": b'{"schema": 2, "metrics": {"test/acc": 0.' + b"1" * 400 + b"}}",
    "a list": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "text": b'"finished"',
}
WRONG = {
    f"{name}={value}": json.dumps({"schema": 2, "status": "finished", name: value}).encode()
    for name, value in (("metrics", [1]), ("knobs", [1]), ("seconds", "x"), ("overrides", 7))
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged: ") as fault:
        read_json(path)
    assert str(fault.value).count("\n") == 0


def test_what_is_whole_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    values = {"a": [1, -2.5e-300, None, True], "b": {"c": "ü"}, "d": int("9" * MOST_DIGITS)}
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(json.dumps(values, ensure_ascii=False), encoding=encoding)
        assert read_json(path) == values


@pytest.mark.parametrize("content", [*DAMAGED.values(), *WRONG.values()], ids=[*DAMAGED, *WRONG])
def test_a_damaged_record_costs_its_own_row(content: bytes, tmp_path: Path) -> None:
    good = {"schema": 2, "status": "finished", "key": "a" * 16, "group": "b" * 16, "seed": 0, "knobs": {"lr": 0.1},
            "metrics": {"val/acc": 0.5}}  # fmt: skip
    for name in ("seed-0", "seed-1"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(json.dumps(good))
    (tmp_path / "seed-1" / "result.json").write_bytes(content)
    runs = load(tmp_path).set_index("name")
    assert runs.loc["seed-0", "status"] == "finished"
    assert runs.loc["seed-1", "status"] != "finished"
    assert "result.json" in str(runs.loc["seed-1", "error"])
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        Result.read(tmp_path / "seed-1")
    outcome = read_outcome(tmp_path / "seed-1")
    assert outcome["status"] == "damaged"
    assert "move it away" in outcome["error"]


@pytest.mark.parametrize(
    "cells",
    [
        7, [7], [{}], [{"name": "a"}], [{"name": 1}],
        *([{"name": name, "key": "k", "group": "g", "overrides": []}] for name in (
            "../outside", "..", ".", "/tmp/x", "a/b", "a\\b", "a\nb", "", "$(id)", "é", "a" * 300, "~", "a b", "<b>")),
    ],
    ids=repr,
)  # fmt: skip
def test_a_strangers_ledger_leads_nowhere(cells: Any, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep.json").write_text(json.dumps({"schema": 2, "cells": cells}))
    with pytest.raises(ValueError, match=r"sweep\.json is damaged"):
        Ledger.open(sweep)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", "${oc.env:SECRET}"), ("data.root", "${oc.env:SECRET,data}"), ("data.root", "x${oc.env:SECRET}"),
        ("model.width", "${oc.decode:${oc.env:SECRET}}"), ("seed", "${unique:name}"), ("epochs", "${now:%Y}"),
        ("model.name", "${hydra:runtime.cwd}"), ("sweep", "${ oc.env:SECRET}"), ("figures", ["${oc.env:SECRET}"]),
        ("lr", "${${name}:HOME}"), ("model.activation", "${oc.select:data.root}"),
        ("a", "${run_name:${oc.env:SECRET}}"),
    ],
)  # fmt: skip
def test_a_strangers_config_asks_for_nothing(
    key: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    group, _, name = key.rpartition(".")
    config = {group: {name: value}} if group else {name: value}
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError) as refusal:
        reopen(tmp_path)
    assert f"config.yaml: {key}" in str(refusal.value)
    assert "asks for something outside of the file" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == [".hydra"]


@pytest.mark.parametrize("part", ["runtime.choices.model", "overrides.task"])
def test_nor_does_what_hydra_wrote(part: str, tmp_path: Path, tiny_job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    write_job(tiny_job(), tmp_path)
    assert reopen(tmp_path).identity.key == tiny_job().identity.key
    path = tmp_path / ".hydra" / "hydra.yaml"
    content = OmegaConf.load(path)
    OmegaConf.update(content, f"hydra.{part}", ["x=${oc.env:SECRET}"] if part.endswith("task") else "${oc.env:SECRET}")
    path.write_text(OmegaConf.to_yaml(content))
    with pytest.raises(ConfigError, match="asks for something outside of the file") as refusal:
        reopen(tmp_path)
    assert "hunter2" not in str(refusal.value)


def test_no_cell_of_a_csv_is_a_formula() -> None:
    texts = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "plain", "-0.5", "+3", "=", None]
    table = pd.DataFrame({"text": texts, "number": [-1.5] * len(texts)})
    rows = csv_text(table).decode().replace("\r", "~").splitlines()[1:]
    cells = [row.rpartition(",")[0].strip('"').replace("~", "\r") for row in rows]
    assert cells == ["'=1+1", "'+1+1", "'-1+1", "'@SUM(A1)", "'\t=1", "'\r=1", "plain", "-0.5", "+3", "'=", ""]
    assert {row.rpartition(",")[2] for row in rows} == {"-1.5"}


def test_a_summary_shows_what_a_stranger_wrote_as_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    record = {"schema": 2, "status": "failed", "key": "a" * 16, "group": "b" * 16, "seed": 0, "knobs": {"lr": evil},
              "metrics": {}, "error": f"{evil} =cmd|' /C calc'!A0 ${{oc.env:HOME}}"}  # fmt: skip
    (tmp_path / "s" / "seed-0").mkdir(parents=True)
    (tmp_path / "s" / "seed-0" / "result.json").write_text(json.dumps(record))
    write_summary(str(tmp_path / "s"), None, [])
    for name in ("summary.md", "index.html"):
        text = (tmp_path / "s" / "summary" / name).read_text()
        assert evil not in text
        assert os.environ["HOME"] + " " not in text


def test_a_heavy_yaml_is_refused_in_a_moment(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(bomb)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        reopen(tmp_path)
