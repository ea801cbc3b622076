"""``history.csv``: what every epoch measured."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cifarlab.result import write_text

Row = dict[str, float | int | None]


class History:
    """A row an epoch; the file is rewritten atomically as the run goes on.

    Attributes:
        rows: ``epoch`` (from 0), its metrics, then ``lr`` (as the epoch left it), ``phase`` (in a run of two) and
            ``seconds`` (of training so far).

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "history.csv"
        self.rows: list[Row] = []

    def write(self) -> None:
        """Put all rows into the file."""
        write_text(self.path, to_csv(self.rows))

    def metrics(self, epoch: int) -> dict[str, float]:
        """What an epoch measured, by the full names that have a split: ``val/acc``."""
        row = next(row for row in self.rows if row["epoch"] == epoch)
        return {name: value for name, value in row.items() if "/" in name and value is not None}

    def columns(self) -> dict[str, list[float]]:
        """The history by column; NaN where an epoch did not measure."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [_number(row.get(name)) for row in self.rows] for name in names}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"rows": list(self.rows)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows = list(state["rows"])


def to_csv(rows: list[Row]) -> str:
    """Rows of possibly different keys as CSV text, the first row's order first."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _number(value: float | int | None) -> float:
    return math.nan if value is None else float(value)
