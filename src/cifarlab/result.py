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
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cifarlab.reading import read_json

SCHEMA = 2
READABLE = (1, SCHEMA)  # schema 1 hashed every default into its keys; its files say the same otherwise
FILE = "result.json"
KEY_LENGTH = 16
# Knobs that repeat a setting with other random numbers or other pictures of the same data set, and are none of it.
REPLICATES = ("seed", "seed_init", "seed_order", "seed_augment", "split_seed", "fold")

Scalar = str | int | float | bool | None


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
    key: str
    group: str
    overrides: list[str]
    knobs: dict[str, Scalar]
    seed: int
    metrics: dict[str, float] = field(default_factory=dict)
    selected: dict[str, Any] | None = None
    epochs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None
    parameters: int | None = None
    flops: int | None = None
    peak_memory_bytes: int | None = None
    device: str | None = None
    precision: str | None = None
    step: str | None = None
    not_recorded: str | None = None
    compiled: bool | None = None
    started: str | None = None
    sittings: int = 1
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
        path = directory / FILE
        values = read_json(path)
        if "schema" not in values:
            raise ValueError(f"{path} is damaged: it has no schema")
        schema = values["schema"]
        if schema not in READABLE:
            raise ValueError(f"{path} has schema {schema}; this version reads {' and '.join(map(str, READABLE))}")
        if isinstance(values.get("metrics"), dict):  # a number that JSON cannot hold was written as null
            values["metrics"] = {name: math.nan if each is None else each for name, each in values["metrics"].items()}
        try:
            return _reader().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


@functools.cache
def _reader() -> TypeAdapter[Result]:
    """Checks the types of a result that comes from a file; keys of a later version are passed over."""
    return TypeAdapter(Result)


def is_replicate(name: str) -> bool:
    """Whether a knob, or a key that is typed (``data.fold``), repeats a setting."""
    return name.removeprefix("data.") in REPLICATES


def digest(description: Any) -> str:
    """Sixteen hexadecimal digits that stand for JSON-able data, whatever the order of its keys."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON atomically. Numbers that JSON cannot hold (NaN, infinity) become null."""
    write_text(path, json.dumps(_finite(values), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one atomic step."""
    write_bytes(path, text.encode())


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


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
