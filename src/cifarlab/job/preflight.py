"""Every cell of a sweep composed, checked and built on the meta device before the first one starts."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.result import digest
from cifarlab.training.hardware.cost import Cost

ReadJob = Callable[[Sequence[str]], Job]


@dataclass(frozen=True)
class Planned:
    """A cell that can be run."""

    overrides: tuple[str, ...]
    job: Job
    cost: Cost


@dataclass(frozen=True)
class Refused:
    """A cell that cannot, and why."""

    overrides: tuple[str, ...]
    faults: tuple[str, ...]


def preflight(
    cells: Iterable[tuple[str, ...]], read: ReadJob, checked: Checked | None = None
) -> tuple[list[Planned], list[Refused]]:
    """Check every cell.

    Args:
        cells: the overrides of each.
        read: composes and checks one.
        checked: what was opened and built for earlier cells.
    """
    checked = checked or Checked()
    planned: list[Planned] = []
    refused: list[Refused] = []
    for overrides in cells:
        try:
            job = read(overrides)
            planned.append(Planned(overrides, job, checked.cost(job)))
        except ConfigError as error:
            refused.append(Refused(overrides, error.faults))
        except ValueError as error:
            refused.append(Refused(overrides, (str(error),)))
        except Exception as error:  # of a class that cannot be built: its cell is refused, not the program broken
            refused.append(Refused(overrides, (_describe(error),)))
    return planned, refused


def refusal(refused: Sequence[Refused], total: int) -> ConfigError:
    """The message for a sweep that is not started: each fault once, with how many cells it concerns."""
    counts: dict[str, int] = {}
    for cell in refused:
        for fault in cell.faults:
            counts[fault] = counts.get(fault, 0) + 1
    lines = [f"{fault}  ({count} of {total} cells)" if total > 1 else fault for fault, count in counts.items()]
    return ConfigError([f"nothing was started: {len(refused)} of {total} cells cannot be run", *lines])


def _describe(error: Exception) -> str:
    """``TypeError: ... (my_model.py:12)``: where a cell broke, on one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"


class Checked:
    """Data sets opened and nets built once, however many cells share them."""

    def __init__(self) -> None:
        self._pictures: dict[str, tuple[int, tuple[int, int]]] = {}
        self._validated: dict[str, bool] = {}
        self._costs: dict[str, Cost] = {}

    def cost(self, job: Job) -> Cost:
        pictures = self._classes_and_size(job)
        self._refuse_what_needs_validation(job)
        trainer = job.parts["trainer"].arguments
        if (devices := trainer["devices"] * trainer["num_nodes"]) > 1:
            job.make_data().per_device(devices)  # refuses what cannot be shared
        groups = ("model", "penalty", "optimizer", "schedule", "trainer", "logger")
        settings = job.parts["settings"].plain()
        read = [settings[key] for key in ("epochs", "finetune")]
        name = digest([*(job.parts[group].plain() for group in groups), *read, *pictures])
        if name not in self._costs:
            self._costs[name] = job.preflight(*pictures)
        return self._costs[name]

    def _refuse_what_needs_validation(self, job: Job) -> None:
        """Without a validation split nothing can be told from its loss.

        Raises:
            ConfigError: the run stops, or lowers its rate, by it.
        """
        if self._validated[_data_of(job)]:
            return
        hint = "there is no validation split; set data.val_fraction above 0"
        if job.settings.early_stopping is not None:
            raise ConfigError([f"early_stopping={job.settings.early_stopping}: {hint}"])
        monitor = str(job.parts["schedule"].arguments.get("monitor"))
        if monitor.startswith("val/"):
            raise ConfigError([f"schedule.monitor={monitor}: {hint}, or schedule.monitor=train/loss"])

    def _classes_and_size(self, job: Job) -> tuple[int, tuple[int, int]]:
        """The number of classes and the size of the pictures, after a look at whether the splits can be made."""
        name = _data_of(job)
        if name not in self._pictures:
            data = job.make_data()
            data.prepare_data()
            data.check()
            sets = data.source.load(data.root)
            train = sets["train"]
            self._validated[name] = "val" in data.rule.positions(sets)
            self._pictures[name] = train.num_classes, train.image_size
        return self._pictures[name]


def _data_of(job: Job) -> str:
    """The same for jobs that have the same pictures in the same splits."""
    return digest([job.parts[group].plain() for group in ("data", "augment")])
