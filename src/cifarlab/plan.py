"""``sweep.json`` as a file that may be damaged or a stranger's: what was asked of a sweep so far.

Sweeps write it and read it back; a summary reads it. Names in it become names of folders and of locks: they are made of
letters that lead nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Required

from pydantic import StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from cifarlab.reading import damaged, fault, faults, read_json
from cifarlab.result import Count, Knobs, Name

FILE = "sweep.json"
SAID = 5  # faults of one file; the others are counted

FolderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+-][A-Za-z0-9._+-]*$", max_length=255)]


class PlannedCell(TypedDict, total=False):
    """A cell; in a ledger of schema 1 without knobs and seed."""

    name: Required[FolderName]
    key: FolderName
    group: Name
    overrides: list[str]
    knobs: Knobs
    seed: Count | None
    confirms: Name | None


class Searched(TypedDict, total=False):
    """What a search is after, and the scale of each interval that it draws from."""

    objective: str
    scales: dict[Name, Literal["log", "linear"]]


class Plan(TypedDict, total=False):
    """The commands, the axes with their values as typed, the planned cells, the figures asked for."""

    schema: int
    name: Name
    commands: list[str]
    axes: dict[Name, list[str]]
    cells: list[PlannedCell]
    figures: list[Name]
    together: dict[Name, list[Name]]
    search: Searched


def read_plan(path: Path, *, shown: bool = False) -> tuple[Plan, list[str]]:
    """What is right in a ``sweep.json``, and a line for what is not: a cell, a command's axes, the file.

    A file that is not there is an empty plan.

    Args:
        path: of the file.
        shown: its texts are to be shown: see `cifarlab.reading.visible`.
    """
    try:
        values = read_json(path, shown=shown)
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"{path} cannot be read: {error.strerror}"]
    except ValueError as error:
        return {}, [str(error)]
    try:
        return _reader().validate_python(values, strict=True), []
    except ValidationError as error:
        wrong = faults(error)
        said = [str(damaged(path, fault(each))) for each in wrong[:SAID]]
        said += [f"{path} is damaged in {len(wrong) - SAID} more places"] if len(wrong) > SAID else []
        return _reader().validate_python(_without(values, [each["loc"] for each in wrong]), strict=True), said


def _without(values: dict[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """The mapping without the keys, and of its cells without those, in which something is wrong."""
    cells = {place[1] for place in places if place[0] == "cells" and len(place) > 1}
    keys = {place[0] for place in places if place[0] != "cells" or len(place) == 1}
    kept = {key: value for key, value in values.items() if key not in keys}
    if cells:
        kept["cells"] = [cell for number, cell in enumerate(values["cells"]) if number not in cells]
    return kept


@functools.cache
def _reader() -> TypeAdapter[Plan]:
    """Keys of a later version are passed over."""
    return TypeAdapter(Plan)
