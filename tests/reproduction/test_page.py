"""The page says what the records say, and what is called beaten is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cifarlab.reproduction.page import FILE, page
from cifarlab.reproduction.results import keep, kept
from cifarlab.reproduction.rows import Entry, Row, read_rows
from cifarlab.reproduction.verdict import Measured, departures, verdict
from cifarlab.result import Result, Status

ROOT = Path(__file__).resolve().parents[2]
ASKED = "R1.3 R1.5 R2.5 R3.1 R3.2 R3.3 R3.4 R3.5 R3.6 R3.7 R4.2 R4.4 R4.5 R4.6 R4.7 R4.8 R4.9 R5.2 R5.3 R5.4 R5.5 R5.6"


def row(**values: object) -> Row:
    given = {"id": "R9.1", "title": "a net", "said": "80 %", "report": {"test/acc": 0.8}, "data": "cifar10"}
    return Row(**{**given, "runs": {"report": ("experiment=resnet20",)}, **values})  # type: ignore[arg-type]


def write_run(folder: Path, overrides: list[str], accuracy: float, **knobs: object) -> None:
    """A finished run as `train.py` leaves it, as far as the page reads it."""
    folder.mkdir(parents=True)
    Result(
        status=Status.FINISHED,
        key=f"{abs(hash(folder.name)):016x}"[:16],
        group="0" * 16,
        overrides=overrides,
        knobs={"data": "cifar10", "limit": None, "epochs": 200, **knobs},  # type: ignore[dict-item]
        seed=0,
        metrics={"test/acc": accuracy, "val/acc": accuracy},
        epochs=200,
        seconds={"total": 100.0},
        device="a device",
        precision="32",
    ).write(folder)
    (folder / "history.csv").write_text("epoch,val/acc\n0,0.5\n")
    (folder / "environment.json").write_text(json.dumps({"packages": {"torch": "2.11", "lightning": "2.6"}}))


def test_the_page_is_what_the_records_say() -> None:
    written = (ROOT / FILE).read_text(encoding="utf-8")
    assert written == page(read_rows(), ROOT / "results"), "python reproduce.py writes it anew"


def test_every_row_that_was_asked_for_is_there_with_a_command() -> None:
    rows = read_rows()
    assert set(ASKED.split()) <= {each.id for each in rows}
    assert all(each.entries or each.command for each in rows)
    names = [entry.name for each in rows for entry in each.entries]
    assert len(set(names)) == len(names)
    experiments = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert {entry.experiment for each in rows for entry in each.entries} <= experiments
    known = {entry.name for each in rows for entry in each.entries}
    assert {path.name for path in (ROOT / "results").iterdir() if path.is_dir()} <= known


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([0.810, 0.812, 0.814], "beaten"),  # 0.812 +- 4.303 * 0.002 / sqrt(3) = 0.80703 at the lower end
        ([0.790, 0.812, 0.834], "level"),
        ([0.780, 0.781, 0.782], "missed"),
        ([0.9, 0.9], "above (n = 2)"),
        ([0.7], "below (n = 1)"),
        ([], ""),
    ],
)
def test_a_number_is_beaten_by_the_lower_end_of_an_interval(tmp_path: Path, accuracies: list[float], said: str) -> None:
    entry = row().entries[0]
    for seed, accuracy in enumerate(accuracies):
        write_run(tmp_path / entry.name / f"seed-{seed}", ["experiment=resnet20", f"seed={seed}"], accuracy)
    measured = Measured.of(kept(tmp_path, entry), "test/acc")
    assert verdict(measured, 0.8) == said
    if said == "beaten":
        assert measured.low == pytest.approx(0.812 - 4.30265 * 0.002 / math.sqrt(3), abs=1e-6)


def test_shorter_runs_fewer_pictures_and_other_data_are_held_against_nothing(tmp_path: Path) -> None:
    runs = {
        "report": ("experiment=resnet20", "epochs=5"),
        "strong": ("experiment=resnet20", "recipe=strong", "epochs=5"),
        "small": ("experiment=resnet20", "recipe=strong", "limit=100"),
    }
    entries = {entry.kind: entry for entry in row(runs=runs).entries}
    for kind, entry in entries.items():
        limit = 100 if kind == "small" else None
        for seed in range(3):
            typed = [*entry.overrides, f"seed={seed}"]
            write_run(tmp_path / entry.name / f"seed-{seed}", typed, 0.9 + seed / 1000, limit=limit)
    found = {kind: departures(entry, kept(tmp_path, entry)) for kind, entry in entries.items()}
    assert found == {"report": ["5 epochs"], "strong": [], "small": ["at most 100 pictures a split"]}
    text = page([row(runs=runs)], tmp_path)
    assert "strong: beaten" in text
    assert text.count("beaten") == 2  # the rule, and this one
    assert "report: beaten" not in text
    elsewhere = page([row(runs=runs, data="cinic10")], tmp_path)
    assert elsewhere.count("beaten") == 1
    assert "on cifar10" in elsewhere


def test_only_finished_runs_of_the_command_are_kept(tmp_path: Path) -> None:
    entry: Entry = row().entries[0]
    sweep = tmp_path / "multirun" / entry.sweep
    write_run(sweep / "seed-0", ["experiment=resnet20", "sweep=x", "trainer.progress_bar=false", "seed=0"], 0.81)
    write_run(sweep / "seed-1", ["experiment=resnet20", "width=4", "seed=1"], 0.99)
    (sweep / "seed-2").mkdir()
    failed = Result.read(sweep / "seed-0")
    failed.status = Status.FAILED
    failed.write(sweep / "seed-2")
    results = tmp_path / "results"
    assert keep(sweep, entry, results) == 1
    assert sorted(path.name for path in (results / entry.name / "seed-0").iterdir()) == [
        "environment.json",
        "history.csv",
        "result.json",
    ]
    write_run(results / entry.name / "seed-9", ["experiment=resnet20", "width=4"], 0.99)
    with pytest.raises(ValueError, match=r"seed-9/result.json is a run with width=4"):
        kept(results, entry)
