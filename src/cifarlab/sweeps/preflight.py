"""Every cell of a sweep composed, checked and built on the meta device before the first one starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cifarlab.configure import ConfigError
from cifarlab.data.module import ImageData
from cifarlab.result import digest
from cifarlab.training.cost import Cost
from cifarlab.training.job import Job

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


def preflight(cells: Sequence[tuple[str, ...]], read: ReadJob) -> tuple[list[Planned], list[Refused]]:
    """Check every cell.

    Args:
        cells: the overrides of each.
        read: composes and checks one.
    """
    checked = _Checked()
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
    return planned, refused


def refusal(refused: Sequence[Refused], total: int) -> ConfigError:
    """The message for a sweep that is not started: each fault once, with how many cells it concerns."""
    counts: dict[str, int] = {}
    for cell in refused:
        for fault in cell.faults:
            counts[fault] = counts.get(fault, 0) + 1
    lines = [f"{fault}  ({count} of {total} cells)" if total > 1 else fault for fault, count in counts.items()]
    return ConfigError([f"nothing was started: {len(refused)} of {total} cells cannot be run", *lines])


class _Checked:
    """Data sets opened and nets counted once, however many cells share them."""

    def __init__(self) -> None:
        self._data: dict[str, ImageData] = {}
        self._costs: dict[str, Cost] = {}

    def cost(self, job: Job) -> Cost:
        data = self._open(job)
        about: Mapping[str, object] = {
            "parts": [job.parts[group].plain() for group in ("model", "penalty", "trainer")],
            "data": [data.num_classes, *data.image_size],
        }
        name = digest(about)
        if name not in self._costs:
            self._costs[name] = job.preflight(data)
        return self._costs[name]

    def _open(self, job: Job) -> ImageData:
        name = digest([job.parts[group].plain() for group in ("data", "augment")])
        if name not in self._data:
            data = job.make_data()
            data.prepare_data()
            data.check()
            self._data[name] = data
        return self._data[name]
