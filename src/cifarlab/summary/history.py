"""The histories of the runs: `history.csv`, a row an epoch."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cifarlab.reading import damaged, read_bytes

MOST_BYTES = 64 * 2**20  # half a million epochs
MOST_COLUMNS = 1000

History = dict[str, np.ndarray]


def read_history(path: Path, faults: list[str] | None = None) -> History:
    """Columns (epochs,) float by name, NaN for an empty cell; nothing where there is no file or no row.

    A killed run may leave half a line at the end: it is dropped.

    Args:
        path: of the file.
        faults: gets a line about what is wrong with the file, which costs its row or its all.
    """
    faults = [] if faults is None else faults
    try:
        lines = list(csv.reader(read_bytes(path, MOST_BYTES).decode("utf-8-sig", errors="replace").splitlines()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        faults.append(f"{path} cannot be read: {error.strerror}")
        return {}
    except csv.Error as error:
        faults.append(str(damaged(path, str(error))))
        return {}
    except ValueError as error:
        faults.append(str(error))
        return {}
    header, rows = (lines[0], lines[1:]) if lines else ([], [])
    if len(set(header)) < len(header) or len(header) > MOST_COLUMNS:
        faults.append(str(damaged(path, f"{len(header)} columns of {len(set(header))} names")))
        return {}
    numbers = _numbers(rows, len(header), path, faults)
    return dict(zip(header, np.array(numbers, dtype=float).T, strict=True)) if numbers else {}


def read_histories(directory: Path, names: Iterable[str]) -> tuple[dict[str, History], list[str]]:
    """The histories that exist, by run; and a line about each that something is wrong with."""
    faults: list[str] = []
    found = ((name, read_history(directory / name / "history.csv", faults)) for name in names)
    return {name: history for name, history in found if history}, faults


def _numbers(rows: list[list[str]], width: int, path: Path, faults: list[str]) -> list[list[float]]:
    """The rows that are whole; where another one than the last is not, or a cell is no number, a line says so."""
    whole: list[list[float]] = []
    wrong: int | None = None
    for line, row in enumerate(rows, start=2):
        if len(row) == width:
            try:
                whole.append([float(cell) if cell else np.nan for cell in row])
                continue
            except ValueError:
                pass
        elif line == len(rows) + 1:
            continue
        wrong = wrong or line
    if wrong:
        faults.append(str(damaged(path, f"line {wrong} is no row of {width} numbers; it is left out")))
    return whole
