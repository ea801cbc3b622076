"""A run tested once more, as `evaluation.json` and `report.txt`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor
from typing_extensions import TypedDict

from cifarlab.evaluation.calibration import BINS, MEASURES, by_class, calibration
from cifarlab.job.trained import Trained
from cifarlab.reading import read_as
from cifarlab.result import MOST_BYTES, SCHEMA, Measures, Name, write_json, write_text
from cifarlab.training.step.evaluation import Evaluation

FILE = "evaluation.json"


@dataclass
class Record:
    """What is known of a run's best weights.

    Attributes:
        key: of the run.
        test: the test split once more.
        val: logits and labels of the validation split; None where there is none.
        calibration: measures of both splits and the temperature, by name.
        shift: measures away from the test split, by name.
        details: what a section of the file says beside its numbers.
    """

    key: str
    test: Evaluation
    val: tuple[Tensor, Tensor] | None
    calibration: dict[str, float]
    shift: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def temperature(self) -> float | None:
        return self.calibration.get("temperature")

    def write(self, directory: Path) -> Path:
        """Replace both files in the run's directory; what an earlier evaluation of the same weights said of shifts
        stays.

        Returns:
            The path of `evaluation.json`.
        """
        path = directory / FILE
        report = self.test.report()
        before = read(directory)
        same = before.get("key") == self.key and before.get("metrics") == self.test.metrics
        kept = before if same else Judged()
        contents = {
            "schema": SCHEMA,
            "key": self.key,
            "split": "test",
            "metrics": self.test.metrics,
            "calibration": self.calibration,
            "measures": MEASURES,
            "bins": BINS,
            "shift": {**kept.get("shift", {}), **self.shift},
            "corruptions": kept.get("corruptions", {}),
            "classes": self.test.classes,
            "confusion": self.test.confusion.tolist(),
            "report": report,
        } | self.details
        write_text(directory / "report.txt", report)
        write_json(path, {name: value for name, value in contents.items() if value != {}})
        return path


def evaluated(trained: Trained, *, per_class: bool = False) -> Record:
    """Test a run once more, and judge its confidence.

    Raises:
        Diverged: the loss is NaN or infinite.
    """
    test = trained.test()
    val = None
    if trained.data.sizes["val"]:
        val = trained.logits(trained.data.pass_over(trained.data.split("val")))
    record = Record(trained.job.identity.key, test, val, calibration(val, (test.logits, test.labels)))
    if per_class:
        record.details["per_class"] = by_class(test.logits, test.labels, test.classes)
    return record


class Judged(TypedDict, total=False):
    """What of an earlier evaluation may stay."""

    key: str
    metrics: Measures
    shift: Measures
    corruptions: dict[Name, str | int]


def read(directory: Path) -> Judged:
    """What the file says; empty where there is none that can be read."""
    try:
        return read_as(TypeAdapter(Judged), directory / FILE, MOST_BYTES)
    except (OSError, ValueError):
        return {}
