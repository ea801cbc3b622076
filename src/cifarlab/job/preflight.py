"""Every cell of a sweep composed, checked and built on the meta device before the first one starts."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.job.nets import Nets, shape_of
from cifarlab.job.once import Once
from cifarlab.result import digest
from cifarlab.training.hardware.counts import Cost

if TYPE_CHECKING:
    from cifarlab.job.feasible import Pictures
    from cifarlab.training.hardware.memory import Need

Given = TypeVar("Given")
Found = TypeVar("Found")
ReadJob = Callable[[Sequence[str]], Job]
Known = Callable[[Job], Cost | None]
Where = Literal["process", "machine", "elsewhere"]  # this process, others on this machine, other machines


def nothing_known(job: Job) -> None:
    """No net has been counted before."""


class Watched(Protocol):
    """Goes through a sequence."""

    def __call__(self, items: Sequence[Given], doing: str, /) -> Iterable[Given]: ...


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
    cells: Sequence[tuple[str, ...]],
    read: ReadJob,
    checked: Checked | None = None,
    *,
    all_or_none: bool = False,
    known: Known = nothing_known,
    watched: Watched = lambda items, doing: items,
) -> tuple[list[Planned], list[Refused]]:
    """Check every cell: first against the signatures, which takes no torch and no data, then by building it.

    Args:
        cells: the overrides of each.
        read: composes and checks one.
        checked: what was opened and built for earlier cells.
        all_or_none: build nothing where the signatures refuse a cell; no cell is planned then.
        known: what the net of a cell costs that is finished, and is not built again.
        watched: goes through the cells, twice, and may tell how far it is and what is done there.
    """
    checked = checked or Checked()
    jobs = [_attempt(overrides, read, overrides) for overrides in watched(cells, "reading")]
    refused = [job for job in jobs if isinstance(job, Refused)]
    if refused and all_or_none:
        return [], refused
    # Those of one net one after another: it is built once, and none is kept but the last.
    order = sorted(range(len(cells)), key=lambda number: _net_of(jobs[number]))
    found = {number: _planned(cells[number], jobs[number], checked, known) for number in watched(order, "building")}
    ends = [found[number] for number in range(len(cells))]
    return [each for each in ends if isinstance(each, Planned)], [each for each in ends if isinstance(each, Refused)]


def _planned(overrides: tuple[str, ...], job: Job | Refused, checked: Checked, known: Known) -> Planned | Refused:
    if isinstance(job, Refused):
        return job
    cost: Cost | Refused | None = known(job)
    if cost is None:
        cost = _attempt(overrides, checked.cost, job)
    return cost if isinstance(cost, Refused) else Planned(overrides, job, cost)


def _net_of(job: Job | Refused) -> str:
    return "" if isinstance(job, Refused) else digest(job.parts["model"].plain())


def _attempt(overrides: tuple[str, ...], step: Callable[[Given], Found], given: Given) -> Found | Refused:
    """What a step of the checks gives for a cell, or why the cell is refused."""
    try:
        return step(given)
    except ConfigError as error:
        return Refused(overrides, error.faults)
    except ValueError as error:
        return Refused(overrides, (str(error),))
    except Exception as error:  # of a class that cannot be built: its cell is refused, not the program broken
        return Refused(overrides, (_describe(error),))


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
    """Data sets opened and nets built once, however many cells share them; what was refused once is refused again.

    It imports torch when the first cell comes that its signatures have nothing against.

    Args:
        where: the cells run. What another machine can do is for it to say, when a cell has got there; a GPU's memory is
            looked at from the process that is about to use it.
    """

    def __init__(self, where: Where = "process") -> None:
        self._where = where
        self._once = Once()
        self._nets = Nets()

    def cost(self, job: Job) -> Cost:
        from cifarlab.job import feasible

        self._check_machine(job)
        pictures = self._pictures_of(job)
        feasible.refuse_what_splits_pass_over(job, pictures)
        feasible.refuse_what_needs_validation(job, pictures)
        smallest = feasible.smallest_training_batch(job, pictures)
        feasible.refuse_more_batches_than_an_epoch_has(job, pictures)
        cost = self._cost_of(job, pictures)
        if smallest == 1:
            self._check_batch_of_one(job, pictures)
        if self._may_use_device_of(job):
            feasible.refuse_what_cannot_fit(job, pictures, cost, lambda: self._need_of(job, pictures))
        return cost

    def _pictures_of(self, job: Job) -> Pictures:
        """What is known of the pictures, after a look at whether the splits can be made."""

        def look() -> Pictures:
            from cifarlab.job.feasible import Pictures

            data = job.make_data()
            data.prepare_data()
            data.check()
            return Pictures.of(data)

        return self._once(("pictures", digest([job.parts[group].plain() for group in ("data", "augment")])), look)

    def _cost_of(self, job: Job, pictures: Pictures) -> Cost:
        shape = (pictures.num_classes, pictures.image_size)
        groups = ("model", "penalty", "optimizer", "schedule", "trainer", "logger")
        settings = job.parts["settings"].plain()
        read = [settings[key] for key in ("epochs", "finetune", "continue_from")]
        name = digest([*(job.parts[group].plain() for group in groups), *read, *shape])
        return self._once(("cost", name), lambda: job.preflight(*shape, self._nets))

    def _check_batch_of_one(self, job: Job, pictures: Pictures) -> None:
        from cifarlab.job.feasible import refuse_batch_of_one

        data, finetune = job.parts["data"].arguments, job.parts["settings"].plain()["finetune"]
        said = [pictures.sizes["train"], data["batch_size"]]  # in the refusal
        model = shape_of(job.parts["model"])
        name = digest([model, finetune, pictures.num_classes, pictures.image_size, *said])
        self._once(("batch of one", name), lambda: refuse_batch_of_one(job, pictures))

    def _need_of(self, job: Job, pictures: Pictures) -> Need:
        from cifarlab.training.hardware.memory import need

        model, optimizer = job.parts["model"], job.parts["optimizer"]
        name = digest([shape_of(model), shape_of(optimizer), pictures.num_classes, pictures.image_size])
        return self._once(("need", name), lambda: need(model, optimizer, pictures.num_classes, pictures.image_size))

    def _check_machine(self, job: Job) -> None:
        def look() -> None:
            from cifarlab.job.feasible import check_machine

            check_machine(job, may_use=self._may_use_device_of(job))

        if self._where != "elsewhere":
            self._once(("machine", digest(job.parts["trainer"].plain())), look)

    def _may_use_device_of(self, job: Job) -> bool:
        """Whether this process may use the device: a GPU is left to the processes that are to run on it."""
        return self._where == "process" or (self._where == "machine" and job.parts["trainer"]().device_type == "cpu")
