"""The page says what the records say, and what is called beaten is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from cifarlab.reproduction.page import FILE, page
from cifarlab.reproduction.results import PICTURES, keep, kept
from cifarlab.reproduction.rows import Entry, Picture, Row, read_rows
from cifarlab.reproduction.verdict import Measured, departures, verdict
from cifarlab.result import Result, Status
from cifarlab.sweeps.grid import Grid

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
    assert {path.name for path in (ROOT / "results").iterdir() if path.is_dir()} <= {*known, PICTURES}
    pictures = {picture.file for each in rows for picture in each.pictures}
    assert pictures == {path.name for path in (ROOT / "results" / PICTURES).iterdir()}


def test_the_commands_of_pictures_are_those_of_the_reports_page() -> None:
    """Two places that say how a row is drawn, and would not say the same for long."""
    reports = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    drawn = [each for each in read_rows() if each.command]
    assert {each.id for each in drawn} == {"R1.5", "R4.5", "R4.6"}
    assert [each.command for each in drawn if f"`{each.command}`" not in reports] == []


def test_a_row_shows_what_its_command_drew(tmp_path: Path) -> None:
    picture = Picture(file="R9.4.png", shows="maps", command="python visualize.py image=3")
    drawn = Row(id="R9.4", title="maps", said="a picture", command="python visualize.py", pictures=(picture,))
    shown = f"R9.4: maps. `python visualize.py image=3`\n\n![maps]({tmp_path.name}/pictures/R9.4.png)"
    assert shown in page([drawn], tmp_path)


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
        "strong": ("experiment=resnet20", "recipe=strong"),
        "short": ("experiment=resnet20", "recipe=strong", "epochs=5"),
        "small": ("experiment=resnet20", "recipe=strong", "limit=100"),
    }
    entries = {entry.kind: entry for entry in row(runs=runs).entries}
    for kind, entry in entries.items():
        limit = 100 if kind == "small" else None
        for seed in range(3):
            typed = [*entry.overrides, f"seed={seed}"]
            write_run(tmp_path / entry.name / f"seed-{seed}", typed, 0.9 + seed / 1000, limit=limit)
    found = {kind: departures(entry, kept(tmp_path, entry)) for kind, entry in entries.items()}
    assert found == {"report": ["5 epochs"], "strong": [], "short": [], "small": ["at most 100 pictures a split"]}
    text = page([row(runs=runs)], tmp_path)
    assert "| strong: beaten; short: above (n = 3) in 5 epochs |" in text
    assert "0.9010, 0.8985 to 0.9035 (n = 3), 5 epochs" in text
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
    # In another clone the same run may have another name: it is the same run.
    write_run(tmp_path / "elsewhere" / "resnet20", ["experiment=resnet20", "seed=0"], 0.81)
    again = Result.read(tmp_path / "elsewhere" / "resnet20")
    again.key = Result.read(sweep / "seed-0").key
    again.write(tmp_path / "elsewhere" / "resnet20")
    assert keep(tmp_path / "elsewhere", entry, results) == 1
    # And another run may have its name: neither takes the other's place.
    write_run(tmp_path / "third" / "seed-0", ["experiment=resnet20", "seed=1"], 0.83)
    other = Result.read(tmp_path / "third" / "seed-0")
    other.key = "b" * 16
    other.write(tmp_path / "third" / "seed-0")
    assert keep(tmp_path / "third", entry, results) == 2
    assert sorted(run.result.metrics["test/acc"] for run in kept(results, entry)) == [0.81, 0.83]
    write_run(results / entry.name / "seed-9", ["experiment=resnet20", "width=4"], 0.99)
    with pytest.raises(ValueError, match=r"seed-9/result.json is a run with width=4"):
        kept(results, entry)


def test_a_grid_has_a_table_its_findings_and_its_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = {"report": ("experiment=grid_blocks_kernel",)}
    grid = row(id="R9.3", report=None, grid=("blocks",), settings={"report": 2}, runs=runs)
    (entry,) = grid.entries
    sweep = tmp_path / "multirun" / entry.sweep
    for blocks, accuracy in ((1, 0.5), (3, 0.7)):
        for seed in range(3):
            typed = ["experiment=grid_blocks_kernel", f"blocks={blocks}", f"seed={seed}"]
            folder = sweep / f"blocks-{blocks}+seed-{seed}"
            write_run(folder, typed, accuracy + seed / 100, blocks=blocks)
            result = Result.read(folder)
            result.seed, result.group = seed, str(blocks) * 16
            result.write(folder)
    write_run(sweep / "smaller", ["experiment=grid_blocks_kernel", "blocks=1", "limit=10", "seed=3"], 0.1)
    (sweep / "summary").mkdir()
    shades = np.linspace(0, 255, 300 * 200).astype(np.uint8).reshape(200, 300)
    Image.fromarray(np.stack([shades, shades[::-1], shades], axis=-1)).save(sweep / "summary" / "heatmap.png")
    (sweep / "summary" / "torn.png").write_bytes(b"half a picture")
    assert keep(sweep, entry, tmp_path / "results") == 6
    assert [path.name for path in (tmp_path / "results" / entry.name).glob("*.png")] == ["heatmap.png"]
    assert "torn.png is no picture" in caplog.text
    with Image.open(tmp_path / "results" / entry.name / "heatmap.png") as small:
        assert (small.mode, small.size) == ("P", (300, 200))
        off = np.abs(np.asarray(small.convert("RGB"))[..., 0].astype(int) - shades)
    assert off.mean() < 16  # of 256 shades
    text = page([grid], tmp_path / "results")
    assert "6 runs, below" in text
    assert "| 3 | 3 | 0.71 | 0.01 | 0.71 |" in text
    assert "blocks=3 is better than blocks=1 by 0.2000" in text
    assert f"![heatmap](results/{entry.name}/heatmap.png)" in text
    assert "Not complete" not in text
    larger = row(id="R9.3", report=None, grid=("blocks",), settings={"report": 12}, runs=runs)
    text = page([larger], tmp_path / "results")
    assert "Not complete: 6 of 36 runs." in text


def test_what_only_shapes_a_grid_is_asked_of_no_run(tmp_path: Path) -> None:
    runs = {"tuned": ("experiment=superconvergence", "zip=[]", "width=8", "lr=0.05,0.2")}
    (entry,) = row(grid=("lr",), runs=runs).entries
    write_run(tmp_path / entry.sweep / "a", ["experiment=superconvergence", "width=8", "lr=0.05", "seed=0"], 0.7)
    assert keep(tmp_path / entry.sweep, entry, tmp_path / "results") == 1
    write_run(tmp_path / entry.sweep / "b", ["experiment=superconvergence", "lr=0.05", "seed=0"], 0.7)
    assert keep(tmp_path / entry.sweep, entry, tmp_path / "results") == 1


def test_the_keys_of_a_grid_are_the_axes_of_its_experiment() -> None:
    for each in read_rows():
        for entry in each.entries if each.grid else ():
            text = (ROOT / "conf" / "experiment" / f"{entry.experiment}.yaml").read_text()
            config = OmegaConf.create(text)
            params = OmegaConf.select(config, "hydra.sweeper.params") or {}
            typed = [override.partition("=")[0] for override in entry.overrides if "," in override]
            assert {*params, *typed} - {"seed"} <= set(each.grid), entry.name
            grid = Grid.parse([*(f"{key}={value}" for key, value in params.items()), *entry.overrides])
            zipped = grid.own.get("zip", OmegaConf.to_container(config).get("zip", []))
            assert entry.settings == grid.combined(zipped, ()).size, entry.name
