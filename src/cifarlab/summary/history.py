"""The histories of the runs: `history.csv`, a row an epoch."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

History = dict[str, np.ndarray]


def read_history(path: Path) -> History:
    """Columns (epochs,) float by name, NaN for an empty cell; nothing where there is no file or no row.

    A killed run may leave half a line at the end: it is dropped.
    """
    try:
        rows = list(csv.reader(path.read_text(errors="replace").splitlines()))
    except OSError:
        return {}
    header, rows = (rows[0], rows[1:]) if rows else ([], [])
    numbers = [_numbers(row) for row in rows if len(row) == len(header)]
    if not numbers:
        return {}
    return dict(zip(header, np.array(numbers, dtype=float).T, strict=True))


def read_histories(directory: Path, names: Iterable[str]) -> dict[str, History]:
    """The histories that exist, by run."""
    found = ((name, read_history(directory / name / "history.csv")) for name in names)
    return {name: history for name, history in found if history}


def _numbers(row: list[str]) -> list[float]:
    return [_number(text) for text in row]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
