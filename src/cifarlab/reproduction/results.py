"""`results/`: the records of runs that stand against the reports, a folder a command, small enough to be committed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

from PIL import Image

from cifarlab.reading import read_json
from cifarlab.reproduction.rows import Entry
from cifarlab.result import FILE, Result, Status, is_replicate, write_bytes

log = getLogger(__name__)

RESULTS = Path("results")
RECORDS = (FILE, "history.csv", "environment.json")
PICTURE = "curves.png"
PICTURES = "pictures"  # a folder beside those of the commands, of rows that are no runs
# Keys that say where and how a cell is run, and no part of what it is.
PLACE = ("sweep", "zip=", "trainer.", "hydra", "data.root", "checkpoints", "figures", "logger", "precision")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A finished run in `results/`.

    Attributes:
        name: of its folder below the command's.
        versions: name -> version, from its `environment.json`.
    """

    name: str
    result: Result
    versions: dict[str, str]


def kept(folder: Path, entry: Entry) -> list[Kept]:
    """The finished runs of a command, by name.

    Raises:
        ValueError: a record is damaged, or the run is another command's: it would be read as what it is not.
    """
    found = []
    for path in sorted((folder / entry.name).glob(f"*/{FILE}")):
        result = Result.read(path.parent)
        if result.status is not Status.FINISHED:
            raise ValueError(f"{path}: the run has {result.status}; only finished ones are kept")
        if more := _besides(result, entry):
            raise ValueError(f"{path} is a run with {' '.join(more)}, which {entry.command!r} is not")
        environment = read_json(path.with_name("environment.json"))
        found.append(Kept(name=path.parent.name, result=result, versions=dict(environment.get("packages", {}))))
    return found


def keep(sweep: Path, entry: Entry, folder: Path) -> int:
    """Copy the records of a sweep's finished runs that are not there yet, whatever their folders are called, and a
    picture: curves of the first, or all that the summary of a grid drew. How many runs there are then.

    Args:
        sweep: its directory; nothing is copied where there is none.
        entry: the command.
        folder: `results/`.
    """
    pictures = {path.name: path for path in sweep.glob("summary/*.png")} if entry.row.grid else {}
    there = {run.result.key for run in kept(folder, entry)}
    for path in sorted(sweep.glob(f"*/{FILE}")):
        result = Result.read(path.parent)
        if result.status is not Status.FINISHED or result.key in there or _besides(result, entry):
            continue
        place = folder / entry.name / path.parent.name
        if (place / FILE).exists():  # of another seed, which had this name in another clone
            place = place.with_name(f"{place.name}-{result.key}")
        place.mkdir(parents=True, exist_ok=True)
        for name in RECORDS[::-1]:  # what makes it a run comes last
            write_bytes(place / name, (path.parent / name).read_bytes())
        if not entry.row.grid and (drawn := path.parent / "figures" / PICTURE).exists():
            pictures.setdefault(PICTURE, drawn)
    for name, drawn in pictures.items():
        try:
            small = with_a_palette(drawn.read_bytes())
        except OSError as error:  # the records are kept, and the queue goes on
            log.warning("%s is no picture and is not kept: %s", drawn, error)
            continue
        write_bytes(folder / entry.name / name, small)
    return len(kept(folder, entry))


def with_a_palette(png: bytes) -> bytes:
    """The picture in 256 colours: a figure of many lines, half a megabyte else, in a third of that."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _besides(result: Result, entry: Entry) -> list[str]:
    """What the run was given beyond the command, or lacks of it."""
    asked = dict(each.partition("=")[::2] for each in entry.overrides if not each.startswith(PLACE))
    given = dict(each.partition("=")[::2] for each in result.overrides if not each.startswith(PLACE))
    known = {*asked, *entry.row.grid}
    beyond = [f"{key}={value}" for key, value in given.items() if key not in known and not is_replicate(key)]
    lacking = [f"no {key}={value}" for key, value in asked.items() if given.get(key) not in (value, *value.split(","))]
    return [*beyond, *lacking]
