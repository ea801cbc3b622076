"""The record of one run, as ``result.json``, and what makes two runs the same run.

Written by training, read by sweeps and summary; imports neither torch nor Hydra.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Le, MaxLen
from pydantic import AllowInfNan, TypeAdapter
from typing_extensions import TypedDict

from cifarlab.reading import checked, damaged, read_json

SCHEMA = 2
READABLE = (1, SCHEMA)  # schema 1 hashed every default into its keys; its files say the same otherwise
FILE = "result.json"
KEY_LENGTH = 16
# Knobs that repeat a setting with other random numbers or other pictures of the same data set, and are none of it.
REPLICATES = ("seed", "seed_init", "seed_order", "seed_augment", "split_seed", "fold")

Scalar = str | int | float | bool | None
# Types of what comes from a file.
Number = Annotated[float, AllowInfNan(False)]
Count = Annotated[int, Ge(0), Le(2**63 - 1)]
Name = Annotated[str, MaxLen(1000)]
Knobs = Annotated[dict[Name, str | bool | Annotated[int, Ge(-(2**63)), Le(2**63 - 1)] | Number | None], MaxLen(1000)]
Measures = Annotated[dict[Name, Number | None], MaxLen(1000)]  # NaN and infinity are written as null

MOST_BYTES = 16 * 2**20  # of a result


class Status(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    FAILED = "failed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    PRUNED = "pruned"  # stopped by a search that had seen enough of its validation curve


@dataclass(frozen=True)
class Identity:
    """Who a run is.

    Attributes:
        key: hash of all that decides the run's numbers and differs from the defaults, seeds included.
        group: the same without what repeats a setting (REPLICATES): seeds, the seed of the splits, and which fold of
            how many, but not how many.
        knobs: short name -> value, for tables and axes.
        overrides: the overrides the run was started with, as written.
        seed: the run's main seed.
    """

    key: str
    group: str
    knobs: Mapping[str, Scalar] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    seed: int = 0


@dataclass(kw_only=True)
class Result:
    """One run. Accuracies are fractions in [0, 1], times are seconds; what was not measured is absent or None."""

    schema: int = SCHEMA
    status: Status
    key: Name
    group: str
    overrides: list[str]
    knobs: dict[str, Scalar]
    seed: Count
    metrics: dict[str, float] = field(default_factory=dict)
    selected: dict[str, str | int] | None = None
    epochs: Count = 0
    seconds: dict[str, float] = field(default_factory=dict)
    images_per_second: Number | None = None
    parameters: Count | None = None
    flops: Count | None = None
    peak_memory_bytes: Count | None = None
    device: str | None = None
    precision: str | None = None
    step: str | None = None
    not_recorded: str | None = None
    compiled: bool | None = None
    started: str | None = None
    sittings: Count = 1
    parent: dict[str, str] | None = None
    finished: str | None = None
    error: str | None = None

    @classmethod
    def begun(cls, identity: Identity, **known: Any) -> Result:
        """The record of a run of which nothing is known yet but who it is; it has failed until it says otherwise."""
        return cls(
            status=Status.FAILED,
            key=identity.key,
            group=identity.group,
            overrides=list(identity.overrides),
            knobs=dict(identity.knobs),
            seed=identity.seed,
            **known,
        )

    def write(self, directory: Path) -> None:
        """Put ``result.json`` into the directory in one atomic step."""
        write_json(directory / FILE, asdict(self))

    @classmethod
    def read(cls, directory: Path) -> Result:
        """The result in a run directory.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is damaged or of another schema.
        """
        values = read_result(directory / FILE)
        for name in ("metrics", "seconds"):
            measured = values.get(name, {})
            values[name] = {key: math.nan if each is None else each for key, each in measured.items()}
        return cls(**values | {"status": Status(values["status"])})


def read_result(path: Path, *, whole: bool = True, shown: bool = False) -> dict[str, Any]:
    """What a ``result.json`` says, each value of the type that `Result` gives it.

    Args:
        path: of the file.
        whole: one without its status, its key and the like is damaged too.
        shown: its texts are to be shown: see `cifarlab.reading.visible`.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ValueError: it is damaged, or of another schema.
    """
    values = read_json(path, MOST_BYTES, shown=shown)
    schema = values.get("schema")
    if isinstance(schema, int) and schema not in READABLE:
        raise ValueError(f"{path} has schema {schema}; this version reads {' and '.join(map(str, READABLE))}")
    needed = (each.name for each in fields(Result) if each.default is each.default_factory is MISSING)
    if whole and (absent := [name for name in ("schema", *needed) if name not in values]):
        raise damaged(path, f"it has no {', '.join(absent)}")
    return checked(_reader(), values, path)


@functools.cache
def _reader() -> TypeAdapter[dict[str, Any]]:
    """Checks the types of a result that comes from a file; keys of a later version are passed over."""
    kinds = get_type_hints(Result, include_extras=True) | {
        "status": Literal[tuple(map(str, Status))],
        "metrics": Measures,
        "seconds": Measures,
        "knobs": Knobs,
    }
    return TypeAdapter(TypedDict("StoredResult", kinds, total=False))  # type: ignore[operator]


def is_replicate(name: str) -> bool:
    """Whether a knob, or a key that is typed (``data.fold``), repeats a setting."""
    return name.removeprefix("data.") in REPLICATES


def digest(description: Any) -> str:
    """Sixteen hexadecimal digits that stand for JSON-able data, whatever the order of its keys."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON atomically. Numbers that JSON cannot hold (NaN, infinity) become null, and of text what no encoding
    holds (bytes of a file's name that are no UTF-8) its escapes."""
    write_text(path, json.dumps(_writable(values), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one atomic step."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one atomic step: a reader sees the old file or the new one, whole, after a power cut too."""
    with naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system refuses within is said of this file, not of the temporary one beside it or of none.

    Raises:
        OSError: with the path as its ``filename``.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _umask() -> int:
    """What the process takes off a new file's permissions; `mkstemp` gives its own files to their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _writable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_writable(str(key)): _writable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(item) for item in value]
    return value
