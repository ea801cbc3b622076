"""A sweep directory read back: one row a run, whatever state the runs are in."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Required

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from cifarlab.heartbeat import RUNNING, how_far
from cifarlab.plan import FILE, Plan, PlannedCell, read_plan
from cifarlab.reading import leads_out, read_as, read_yaml_list, visible
from cifarlab.result import MOST_BYTES, Measures, is_replicate, read_result
from cifarlab.summary.knobs import Record, axes_and_others, fill_groups, knob_name, knobs_of
from cifarlab.summary.together import join
from cifarlab.summary.values import absent, label, numeric, ordered, parse, plain

CORE = ("name", "status", "key", "group", "seed")
FACTS = ("epochs", "images_per_second", "parameters", "flops", "peak_memory_bytes", "device", "precision")
TIMES = ("started", "finished")
STATUSES = ("finished", "failed", "diverged", "interrupted", "missing", "pruned", RUNNING)

_NOTHING = (
    "{directory} holds no run: expected subdirectories with a result.json or a .hydra folder, as "
    "`python train.py -m ...` leaves them in multirun/NAME, or a sweep.json with planned cells"
)


class NothingFound(ValueError):
    """A directory that holds no run."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a folder of runs says.

    Attributes:
        directory: what the names of the runs start from.
        folder: where the summary goes.
        axes: knobs that tell the settings apart, seeds left out: the swept ones, then others that vary on their own.
        knobs: the axes, then every other knob that varies.
        runs: a row a run, as `load` returns it.
        written: the values of an axis in the order of the command.
        together: axes that stand for several knobs -> these.
        objective: what a search was after; None for a grid.
        scales: axes that a search drew from an interval -> ``log`` or ``linear``.
        confirming: likewise the runs of the best setting with fresh seeds (``confirm=5``), which are none of `runs`.
        faults: files and folders of which something could not be read or believed, a line each.
    """

    directory: Path
    folder: Path
    name: str
    commands: tuple[str, ...]
    figures: tuple[str, ...]
    axes: tuple[str, ...]
    knobs: tuple[str, ...]
    runs: pd.DataFrame
    written: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    together: Mapping[str, Sequence[str]] = field(default_factory=dict)
    objective: str | None = None
    scales: Mapping[str, str] = field(default_factory=dict)
    confirming: pd.DataFrame = field(default_factory=pd.DataFrame)
    faults: tuple[str, ...] = ()
    _codes: dict[str, tuple[list[str], np.ndarray, bool]] = field(default_factory=dict, repr=False)

    @property
    def is_finished(self) -> pd.Series:
        """(runs,) bool: whether a run ended well; only these enter a mean, and one that is there twice enters once."""
        finished = self.runs["status"] == "finished"
        keys = self.runs["key"].where(finished)
        return finished & ~(keys.duplicated() & keys.notna())

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that ended well."""
        return self.runs[self.is_finished]

    @property
    def all_runs(self) -> pd.DataFrame:
        """`runs`, and after them those with fresh seeds, which a column `confirms` tells apart."""
        if self.confirming.empty:
            return self.runs
        return pd.concat([self.runs.assign(confirms=False), self.confirming.assign(confirms=True)], ignore_index=True)

    def by_data(self) -> list[Sweep]:
        """A part for each data set and protocol, in which only what differs there is an axis; itself if it has one."""
        names = [name for name in ("data", "protocol") if name in self.runs]
        texts = self.runs[names].map(label).agg(" ".join, axis=1) if names else pd.Series("", self.runs.index)
        distinct = list(dict.fromkeys(texts))
        return [self] if len(distinct) < 2 else [self._part(text, texts == text) for text in distinct]

    def _part(self, name: str, chosen: pd.Series) -> Sweep:
        runs = self.runs[chosen].reset_index(drop=True)
        varying = [axis for axis in self.axes if runs[axis].map(label).nunique() > 1]
        confirming = self.confirming
        if not confirming.empty:
            confirming = confirming[confirming["group"].isin(runs["group"])]
        part = replace(self, name=name.removesuffix(" standard"), axes=tuple(varying), runs=runs, confirming=confirming)
        return replace(part, _codes={})

    @property
    def states(self) -> pd.Series:
        """(runs,) text: the status of each without how far it is, one of `STATUSES`."""
        return self.runs["status"].str.partition(",")[0]

    @property
    def is_lost(self) -> pd.Series:
        """(runs,) bool: neither finished, nor at work, nor, as a search does, stopped on purpose."""
        return ~self.states.isin(["finished", "pruned", RUNNING])

    def labels(self, knob: str) -> list[str]:
        """The values of a knob as text: numbers by size, words as they were written in the command."""
        return self._coded(knob)[0]

    def places(self, knob: str) -> np.ndarray:
        """(runs,) int: where in `labels` the value of each run stands, -1 for a run without the knob."""
        return self._coded(knob)[1]

    def is_scale(self, knob: str) -> bool:
        """Whether the values of a knob are numbers."""
        return self._coded(knob)[2]

    def swept(self) -> list[str]:
        """The axes with at least two values."""
        return [axis for axis in self.axes if len(self.labels(axis)) > 1]

    def gridded(self) -> list[str]:
        """The axes with at least two values and not with one for each setting, as an interval has."""
        return [axis for axis in self.swept() if axis not in self.scales]

    def _coded(self, knob: str) -> tuple[list[str], np.ndarray, bool]:
        if knob not in self._codes:
            values = self.runs[knob].tolist()
            distinct = ordered(values, self.written.get(knob, ()))
            texts = [label(value) for value in distinct]
            place = {text: position for position, text in enumerate(texts)}
            positions = [-1 if absent(value) else place[label(value)] for value in values]
            self._codes[knob] = texts, np.array(positions, dtype=int), all(map(numeric, distinct))
        return self._codes[knob]


def load(sweep_dir: str | Path) -> pd.DataFrame:
    """The runs of a sweep, or of any folder of runs, as a table.

    A row is a subdirectory with a `result.json` or a `.hydra/`, or a cell that `sweep.json` plans and that has no
    folder yet. Columns: `name status key group seed`, the swept knobs, every other knob, each metric under its own name
    (`val/acc`), `selected_by selected_epoch`, `seconds_data ... seconds_total`, `epochs images_per_second parameters
    flops peak_memory_bytes device precision started finished error`, and where the best setting was trained
    again with fresh seeds `confirms`, which is true of these runs. A run without result is `missing`, one at
    work `running, epoch 4/12`. A knob that is `null` reads `null`; an empty cell means that the run has no such knob.
    Where two columns would share a name the later one is called `metric.NAME` or `result.NAME`.

    Raises:
        NothingFound: (a ValueError) the directory holds no run, or is itself a run.
    """
    return read_sweep(sweep_dir).all_runs


def read_sweep(sweep_dir: str | Path, *beside: str | Path) -> Sweep:
    """`load`, together with what `sweep.json` says and which knobs tell the settings apart.

    Args:
        sweep_dir: a sweep's directory, or any folder of runs.
        beside: further ones, whose runs are read as if all lay in one folder; their summary lies beside them.
    """
    directory, plan, records, faults = _read_all([Path(each) for each in (sweep_dir, *beside)])
    written = _written(plan, records)
    for record in records:
        record["knobs"] = knobs_of(record, written)
    together = join(records, plan.get("together", {}))
    written = _joined(written, together, records)
    axes, varying = axes_and_others(
        records, [axis for axis in written if not is_replicate(axis)], planned=bool(written)
    )
    fill_groups(records, axes)
    search = plan.get("search", {})
    table = _table(records, [*axes, *varying])
    confirms = np.array([record["confirms"] for record in records]) & ~np.all(
        [record["confirms"] for record in records]
    )
    return Sweep(
        directory=directory,
        folder=directory / (plan["name"] if beside else "summary"),
        name=plan.get("name") or visible(directory.resolve().name),
        commands=tuple(plan.get("commands", ())),
        figures=tuple(plan.get("figures", ())),
        axes=tuple(_knob_column(axis) for axis in axes),
        knobs=tuple(_knob_column(knob) for knob in [*axes, *varying]),
        runs=table[~confirms].reset_index(drop=True),
        confirming=table[confirms].reset_index(drop=True),
        written={_knob_column(axis): values for axis, values in written.items()},
        together={_knob_column(name): tuple(map(_knob_column, knobs)) for name, knobs in together.items()},
        objective=search.get("objective"),
        scales={_knob_column(knob_name(axis, records)): scale for axis, scale in search.get("scales", {}).items()},
        faults=tuple(faults),
    )


def _read_all(directories: Sequence[Path]) -> tuple[Path, Plan, list[Record], list[str]]:
    """The folder, the ledger, the runs and the faults of a sweep; of several, what all have in common."""
    found = [_read_one(directory) for directory in directories]
    if len(found) == 1:
        return directories[0], *found[0]
    resolved = [directory.resolve() for directory in directories]
    common = Path(os.path.commonpath(resolved))
    if common in resolved or len(set(resolved)) < len(resolved):
        raise NothingFound(f"{' '.join(map(str, directories))}: one is the same as another, or holds it")
    names = [str(directory.relative_to(common)) for directory in resolved]
    records = [
        record | {"name": f"{name}/{record['name']}"}
        for name, (_, own, _) in zip(names, found, strict=True)
        for record in own
    ]
    plan: Plan = {"name": "+".join(names).replace("/", "-"), "axes": {}, "cells": [], "together": {}}
    plan["commands"] = [command for ledger, _, _ in found for command in ledger.get("commands", ())]
    for ledger, _, _ in found:
        for axis, values in ledger.get("axes", {}).items():
            plan["axes"][axis] = list(dict.fromkeys([*plan["axes"].get(axis, ()), *values]))
        plan["cells"] += ledger.get("cells", [])
        plan["together"] |= ledger.get("together", {})
    return common, plan, records, [fault for _, _, faults in found for fault in faults]


def _read_one(directory: Path) -> tuple[Plan, list[Record], list[str]]:
    _refuse(directory)
    plan, faults = read_plan(directory / FILE, shown=True)
    records = _records(directory, plan.get("cells", []), faults)
    if not records:
        raise NothingFound("\n".join([_NOTHING.format(directory=directory), *faults]))
    return plan, records, faults


def _written(plan: Plan, records: Sequence[Record]) -> dict[str, list[Any]]:
    """The values of each swept knob in the order of the command: as the cells have them or, in a ledger of schema 1,
    whose cells have no knobs, as the command's text has them."""
    planned = [cell["knobs"] for cell in plan.get("cells", []) if cell.get("knobs")]
    written: dict[str, list[Any]] = {}
    for axis, texts in plan.get("axes", {}).items():
        name = knob_name(axis, records)
        values = dict.fromkeys(plain(knobs[name]) for knobs in planned if name in knobs)
        written[name] = list(values) or [parse(str(text)) for text in texts]
    return written


def _joined(
    written: Mapping[str, list[Any]], together: Mapping[str, Sequence[str]], records: Sequence[Record]
) -> dict[str, list[Any]]:
    """The axes with each group of knobs that move together as one, where the first of them stood."""
    joined: dict[str, list[Any]] = {}
    for knob, values in written.items():
        name = next((name for name, knobs in together.items() if knob in knobs), None)
        if name is None:
            joined[knob] = values
        elif name not in joined:
            joined[name] = list(dict.fromkeys(record["knobs"][name] for record in records))
    return joined


def _refuse(directory: Path) -> None:
    if not directory.is_dir():
        raise NothingFound(f"{directory} is no directory; give a sweep's, such as multirun/resnet")
    if (directory / "result.json").is_file():
        raise NothingFound(
            f"{directory} is a single run; give the folder that holds the runs, {directory.resolve().parent}"
        )


def _records(directory: Path, cells: Iterable[PlannedCell], faults: list[str]) -> list[Record]:
    planned = {cell["name"]: cell for cell in cells}
    present = _run_folders(directory, faults)
    extra = sorted((name for name in present if name not in planned), key=_natural)
    return [_record(name, present.get(name), planned.get(name)) for name in [*planned, *extra]]


def _run_folders(directory: Path, faults: list[str]) -> dict[str, Path]:
    """The folders that hold a run, by name; what leads out of the directory or cannot be shown is a fault."""
    folders = {}
    for entry in directory.iterdir():
        if entry.name.startswith(".") or not (_is_there(entry / "result.json") or (entry / ".hydra").is_dir()):
            continue
        if entry.name != visible(entry.name):
            faults.append(f"{visible(str(entry))} is left out: a name for a run has no such characters")
        elif leads_out(entry, directory):
            faults.append(f"{entry} is left out: it is a link out of {directory}; give where it leads beside this")
        else:
            folders[entry.name] = entry
    return folders


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _record(name: str, folder: Path | None, cell: PlannedCell | None) -> Record:
    planned: Mapping[str, Any] = cell or {}
    result, fault = _read_result(folder / "result.json") if folder else ({}, None)
    if folder and "metrics" in result:
        result["metrics"] = {**_judged(folder, result.get("key")), **result["metrics"]}
    # A cell that was interrupted keeps that result while it is gone on with.
    ended = result.get("status") in ("finished", "diverged", "pruned")
    running = how_far(folder) if folder and not ended else None
    overrides = result.get("overrides") or planned.get("overrides", [])
    if folder and not result and not overrides and not (folder / ".hydra").is_symlink():
        overrides, fault = _composed(folder / ".hydra" / "overrides.yaml", fault)
    return {
        **result,
        "name": name,
        "status": running or result.get("status", "missing"),
        "key": result.get("key", planned.get("key")),
        "group": planned.get("confirms") or result.get("group", planned.get("group")),
        "overrides": dict(map(_split, overrides)),
        "seed": result.get("seed", planned.get("seed")),
        "knobs": {**planned.get("knobs", {}), **result.get("knobs", {})},
        "error": result.get("error") or fault,
        "confirms": bool(planned.get("confirms")),
    }


def _read_result(path: Path) -> tuple[dict[str, Any], str | None]:
    """What a result says, and what is wrong with it: ({}, None) where there is no file."""
    try:
        return read_result(path, whole=False, shown=True), None
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError) as fault:
        return {}, f"{path.name} cannot be read: {visible(str(fault))}"


class Judged(TypedDict, total=False):
    """What of an `evaluation.json` is shown beside a run's own metrics."""

    key: Required[str]
    calibration: Measures
    shift: Measures


def _judged(folder: Path, key: Any) -> dict[str, float | None]:
    """What `evaluate.py` measured of a run's weights beside its own metrics; nothing where they are another run's."""
    try:
        content = read_as(_judged_reader(), folder / "evaluation.json", MOST_BYTES, shown=True)
    except (OSError, ValueError):
        return {}
    return content.get("calibration", {}) | content.get("shift", {}) if content["key"] == key else {}


@functools.cache
def _judged_reader() -> TypeAdapter[Judged]:
    return TypeAdapter(Judged)


def _composed(path: Path, fault: str | None) -> tuple[list[str], str | None]:
    """The overrides that Hydra noted when it composed a run that left no result; and what is wrong with the file."""
    try:
        return [visible(override) for override in read_yaml_list(path)], fault
    except FileNotFoundError:
        return [], fault
    except (OSError, ValueError) as error:
        return [], fault or f"{path.name} cannot be read: {visible(str(error))}"


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def _knob_column(knob: str) -> str:
    return f"knob.{knob}" if knob in (*CORE, "error") else knob


def _table(records: Sequence[Record], first: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {name: [record.get(name) for record in records] for name in CORE}
    knobs = [*first, *_keys(records, "knobs")]
    for knob in dict.fromkeys(knob for knob in knobs if knob != "seed"):
        columns[_knob_column(knob)] = [record["knobs"].get(knob) for record in records]
    for section, prefix in (("metrics", ""), ("selected", "selected_"), ("seconds", "seconds_")):
        for key in _keys(records, section):
            name = prefix + key if prefix + key not in columns else f"metric.{key}"
            columns[name] = [(record.get(section) or {}).get(key) for record in records]
    for key in (*FACTS, *TIMES):
        columns[key if key not in columns else f"result.{key}"] = [record.get(key) for record in records]
    columns["error"] = [record["error"] for record in records]
    table = pd.DataFrame({name: _series(column) for name, column in columns.items()})
    numbers = [str(name) for name in table if re.match(r"(metric\.)?(train|val|test)/|seconds_", str(name))]
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})


def _series(values: Sequence[Any]) -> pd.Series:
    """A column of the narrowest type; integers with gaps become Int64, where NaN would make floats of them."""
    whole = all(value is None or type(value) is int for value in values)
    if whole and None in values and any(value is not None for value in values):
        return pd.Series(values, dtype="Int64")
    return pd.Series(values, dtype=object).infer_objects()


def _keys(records: Sequence[Record], section: str) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in (record.get(section) or {})))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which `job-2` precedes `job-10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]
