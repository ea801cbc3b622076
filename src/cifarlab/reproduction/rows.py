"""What the reports claim, row by row, and the runs that stand against it: `rows.yaml` as objects."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import yaml
from annotated_types import Gt
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

FILE = Path(__file__).with_name("rows.yaml")
SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a row that is no run has drawn.

    Attributes:
        file: its name in `results/pictures`.
        shows: in words.
        command: that drew it.
    """

    file: str
    shows: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim of a report.

    Attributes:
        id: ``R3.2``; several rows may share one.
        title: the net and the data set.
        said: what the report says, in words.
        report: its numbers by the metric that each is of, fractions in [0, 1].
        published: the best known for this architecture, with source and protocol.
        data: the report's data set; runs on another one are never held against its numbers.
        worth: of a first run, beside those of other rows.
        runs: kind -> what is typed behind ``python train.py -m``: ``report`` is the report's protocol, ``strong``
            today's recipe, others are shorter or stand beside them.
        grid: keys in which its runs differ: they are of several settings, which have a table of their own.
        settings: kind -> how many settings each command of a grid has for each seed; where the experiment has its own
            seeds, runs in all.
        command: of a row that is a picture.
        pictures: that were drawn.
        note: why nothing stands there, where nothing can.
    """

    id: str
    title: str
    said: str
    report: Mapping[str, float] | None = None
    published: str | None = None
    data: str | None = None
    worth: Annotated[float, Gt(0)] = 1.0
    runs: Mapping[str, tuple[str, ...]] | None = None
    grid: tuple[str, ...] = ()
    settings: Mapping[str, int] | None = None
    command: str | None = None
    pictures: tuple[Picture, ...] = ()
    note: str | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The runs as commands."""
        return tuple(Entry(row=self, kind=kind, overrides=typed) for kind, typed in (self.runs or {}).items())


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command of a row: a net with three seeds, or a grid.

    Attributes:
        kind: ``report``, ``strong`` or another name.
        overrides: what is typed, seeds left out.
    """

    row: Row
    kind: str
    overrides: tuple[str, ...]

    @property
    def experiment(self) -> str:
        return self.overrides[0].removeprefix("experiment=")

    @property
    def name(self) -> str:
        """Of its folder in `results/` and of its sweep: ``resnet20-strong``."""
        return f"{self.experiment}-{self.kind}"

    @property
    def is_strong(self) -> bool:
        """Whether it is today's recipe, at whatever length."""
        return "recipe=strong" in self.overrides

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that are typed: none where the experiment says itself over which it goes."""
        return () if self.experiment == "robustness" else SEEDS

    @property
    def settings(self) -> int:
        """How many it has for each seed; where the experiment has its own seeds, runs in all."""
        return (self.row.settings or {}).get(self.kind, 1)

    @property
    def whole(self) -> int:
        """How many runs it comes to with all seeds."""
        return self.settings * max(len(self.seeds), 1)

    @property
    def command(self) -> str:
        """As one types it."""
        seeds = [f"seed={','.join(map(str, self.seeds))}"] if self.seeds else []
        return shlex.join(["python", "train.py", "-m", *self.overrides, *seeds])

    def arguments(self, seeds: Sequence[int]) -> list[str]:
        """What `train.py` is given for some of the seeds; none are typed where the experiment says its own."""
        return ["-m", *self.overrides, *([f"seed={','.join(map(str, seeds))}"] if seeds else []), f"sweep={self.sweep}"]

    @property
    def sweep(self) -> str:
        return f"reproduction-{self.name}"


@functools.cache
def read_rows(file: Path = FILE) -> tuple[Row, ...]:
    """All rows, in the order of the reports.

    Raises:
        pydantic.ValidationError: the file is not as it must be.
    """
    return TypeAdapter(tuple[Row, ...]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))


def by_name(rows: Sequence[Row]) -> dict[str, Entry]:
    """All commands of the rows by their names."""
    return {entry.name: entry for row in rows for entry in row.entries}
