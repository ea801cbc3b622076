"""What lies in a directory may be damaged, or a stranger's: it is named, costs its own row, and asks for nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from cifarlab.heartbeat import Heartbeat, how_far
from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen, write_job
from cifarlab.reading import MOST_DIGITS, read_json, visible
from cifarlab.result import Identity, Result
from cifarlab.summary.history import read_histories
from cifarlab.summary.load import read_sweep
from cifarlab.summary.write import csv_text, write_summary
from cifarlab.sweeps.ledger import Ledger, read_outcome
from cifarlab.training.records.environment import Sittings, write_environment

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
    "half a character": b'{"error": "\\ud800"}',
    "no escape": b'{"error": "\x1b[2J"}',
    "two values": b"{} {}",
}
WRONG = {
    f"{name}={value}": json.dumps({"schema": 2, "status": "finished", name: value}).encode()
    for name, value in (
        ("metrics", [1]), ("metrics", {"val/acc": "0.5"}), ("metrics", {"val/acc": True}),
        ("metrics", {"val/acc": [1]}),
        ("knobs", [1]), ("knobs", {"lr": {"a": 1}}), ("seconds", "x"), ("overrides", 7), ("overrides", [1]),
        ("seed", -1),
        ("seed", "0"), ("seed", 10**30), ("epochs", 1.5), ("parameters", 10**30), ("status", "fine"), ("status", 7),
        ("key", 7), ("selected", [1]), ("error", {"a": 1}), ("started", 5), ("parent", {"key": 1}), ("schema", "2"),
        ("metrics", {f"m{number}": 0.5 for number in range(1001)}), ("knobs", {"k" * 1001: 1}),
    )
} | {
    f"metrics of {number}": f'{{"schema": 2, "status": "finished", "metrics": {{"val/acc": {number}}}}}'.encode()
    for number in ("1e999", "-1e999", "NaN", "Infinity")
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged: ") as fault:
        read_json(path)
    assert str(fault.value).count("\n") == 0


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link", "a link to nothing", "a device", "a large file"])
def test_what_is_no_file_of_its_own_is_named_and_waited_for_by_nobody(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a device":
            path.symlink_to("/dev/zero")
        case "a large file":
            with path.open("wb") as file:
                file.truncate(2**40)
        case _:
            (tmp_path / "other.json").write_text("{}")
            path.symlink_to(tmp_path / "other.json" if kind == "a link" else "nothing")
    with pytest.raises(ValueError, match=f"{path} is damaged: "):
        read_json(path)
    assert read_outcome(tmp_path)["status"] == "damaged"


def test_what_does_something_on_a_terminal_is_shown_as_an_escape() -> None:
    text = "a\tb\nc \x1b[2J\x07\x9b\r \u202egnp\u2066 \ud800 \x00 é 日本"
    assert visible(text) == "a\tb\nc \\x1b[2J\\x07\\x9b\\r \\u202egnp\\u2066 \\ud800 \\x00 é 日本"


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
    sweep = read_sweep(tmp_path)
    runs = sweep.runs.set_index("name")
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
    (sweep / "run" / ".hydra").mkdir(parents=True)
    read = read_sweep(sweep)
    assert {"run"} <= set(read.runs["name"]) <= {"run", "a"}
    assert len(read.faults) == (0 if cells == [{"name": "a"}] else 1)  # a name is enough for a row


def test_what_is_wrong_in_a_ledger_costs_its_own_row(tmp_path: Path) -> None:
    def cell(name: Any, **changes: Any) -> dict[str, Any]:
        return {
            "name": name,
            "key": "a" * 16,
            "group": "b",
            "overrides": [f"seed={name}"],
            "knobs": {"lr": 0.1},
        } | changes

    right = {"commands": ["train.py -m lr=0.1"], "figures": ["curves"], "together": {}, "axes": {"lr": ["0.1"]}}
    wrong = [
        cell("../../etc"), cell("knobs", knobs=[1]), cell("seed", seed="0"), cell("overrides", overrides="seed=0"),
        cell("key", key="../x"), 7,
    ]  # fmt: skip
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"schema": 2, "cells": [cell("one"), *wrong, cell("two")], **right}))
    read = read_sweep(tmp_path)
    assert read.runs["name"].tolist() == ["one", "two"]
    assert (read.axes, read.commands, read.figures) == (("lr",), ("train.py -m lr=0.1",), ("curves",))
    assert [fault.removeprefix(f"{path} is damaged") for fault in read.faults] == [
        ": cells.1.name: String should match pattern '^[A-Za-z0-9_+-][A-Za-z0-9._+-]*$'",
        ": cells.2.knobs: Input should be a valid dictionary",
        ": cells.3.seed: Input should be a valid integer",
        ": cells.4.overrides: Input should be a valid list",
        ": cells.5.key: String should match pattern '^[A-Za-z0-9_+-][A-Za-z0-9._+-]*$'",
        " in 1 more places",
    ]
    for change in ({"axes": {"lr": {}}}, {"axes": [1]}, {"search": 7}, {"search": {"scales": [1]}}, {"figures": [[]]},
                   {"commands": [7]}, {"together": {"a": 1}}, {"name": ["a"]}):  # fmt: skip
        path.write_text(json.dumps({"schema": 2, "cells": [cell("one")], **right, **change}))
        (fault,) = read_sweep(tmp_path).faults
        assert fault.startswith(f"{path} is damaged: {next(iter(change))}")
        with pytest.raises(ValueError, match="Move the file away; the finished cells are kept"):
            Ledger.open(tmp_path)
    path.write_text(json.dumps({"schema": 2, "cells": [cell("one")]}))
    assert read_sweep(tmp_path).faults == ()


@pytest.mark.parametrize(
    "content", [b"- \xe9=1\n", b"[" * 5000, b"a: 1\n", b"7", b"- [a]\n", b"- !!python/object/apply:os.system [id]\n",
                b"- '\n", b"a: &a [x,x]\nb: [*a]\n"], ids=repr,
)  # fmt: skip
def test_overrides_that_cannot_be_read_cost_a_row_its_knobs(content: bytes, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text("- seed=3\n")
    (tmp_path / "one" / ".hydra" / "overrides.yaml").write_bytes(content)
    runs = read_sweep(tmp_path).runs.set_index("name")
    assert runs.loc["two", "seed"] == 3
    assert runs["status"].tolist() == ["missing", "missing"]
    assert "overrides.yaml cannot be read: " in runs.loc["one", "error"]


@pytest.mark.parametrize(
    ("changed", "epochs", "said"),
    [
        (lambda lines: [*lines[:3], "9" * 140_000, *lines[4:]], 0, "field larger than field limit"),
        (lambda lines: [*lines[:3], "2", *lines[4:]], 4, "line 4 is no row of 3 numbers; it is left out"),
        (lambda lines: [*lines[:3], "2,x,0.5", *lines[4:]], 4, "line 4 is no row of 3 numbers"),
        (lambda lines: ["a,a,a", *lines[1:]], 0, "3 columns of 1 names"),
        (lambda lines: [*lines[:-1], "4,0."], 4, None),  # of a killed run
        (lambda lines: [*lines[:3], "2,,1e999", *lines[4:]], 5, None),
    ],
)
def test_a_history_that_is_damaged_costs_its_row_and_is_named(
    changed: Any, epochs: int, said: str | None, tmp_path: Path
) -> None:
    lines = ["epoch,val/loss,val/acc", *(f"{epoch},1.5,0.5" for epoch in range(5))]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "one" / "history.csv"
    path.write_text("\n".join(changed(lines)) + "\n")
    histories, faults = read_histories(tmp_path, ["one", "two", "three"])
    assert len(histories["two"]["val/acc"]) == 5
    assert len(histories.get("one", {}).get("epoch", [])) == epochs
    assert [fault.partition(f"{path} is damaged: ")[2].startswith(said or "") for fault in faults] == [True] * bool(
        said
    )


def test_an_environment_that_cannot_be_read_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def sit() -> Sittings:
        return write_environment(tmp_path, torch.device("cpu"), started="now", goes_on=True)

    assert [sit().count, sit().count] == [1, 2]
    (tmp_path / "environment.json").write_text('{"git": {"commit": "precious"')
    assert [sit().count, sit().count] == [1, 2]
    (aside,) = tmp_path.glob("environment.damaged-*.json")
    assert "precious" in aside.read_text()
    assert "environment.json is damaged: EOF while parsing" in caplog.text


@pytest.mark.parametrize(
    "values", [{"process": 10**400}, {"process": -1}, {"epoch": "1"}, {"host": ["x"]}, {}], ids=repr
)
def test_a_heartbeat_of_other_types_is_none(values: dict[str, Any], tmp_path: Path) -> None:
    Heartbeat(tmp_path, 12).beat(3)
    path = tmp_path / "progress.json"
    assert how_far(tmp_path) == "running, epoch 3/12"
    path.write_text(json.dumps(json.loads(path.read_text()) | values if values else [1]))
    assert how_far(tmp_path) is None


def test_a_name_of_a_file_that_is_no_text_is_recorded_as_it_can_be_read(tmp_path: Path) -> None:
    record = Result.begun(Identity(key="a" * 16, group="b" * 16), error="'\udcff.png' cannot be read")
    record.write(tmp_path)
    assert Result.read(tmp_path).error == "'\\udcff.png' cannot be read"


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
