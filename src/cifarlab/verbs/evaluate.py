"""``python evaluate.py run=RUN_DIR``."""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from cifarlab.job.configure import describe_call
from cifarlab.job.trained import evaluate_again
from cifarlab.result import SCHEMA, write_json, write_text
from cifarlab.training.divergence import Diverged
from cifarlab.verbs.command_line import leave
from cifarlab.verbs.paths import expanded


class DataSets:
    """Where data sets lie.

    Args:
        root: folder with the data sets' own folders; as the run had it if null.
    """

    def __init__(self, *, root: str | None = None) -> None:
        self.root = root


class Options:
    """What `evaluate.py` is told.

    Args:
        run: directory of a single run or of a cell of a sweep.
        data: where the data sets lie now.
        allow: import paths of your own models and data sets that the run's config may name.
    """

    def __init__(self, *, run: str, data: DataSets | None = None, allow: tuple[str, ...] = ()) -> None:
        self.run = expanded(run)
        self.root = data.root if data else None
        self.allow = allow


def evaluate(config: DictConfig) -> None:
    """Write ``evaluation.json`` and ``report.txt`` into the run directory and print the report."""
    try:
        given = {str(key): value for key, value in OmegaConf.to_object(config).items()}  # type: ignore[union-attr]
        _evaluate(describe_call(Options, given, key="")())
    except ValueError as error:
        leave(error)
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        sys.exit(1)


def _evaluate(options: Options) -> None:
    evaluation = evaluate_again(options.run, allow=options.allow, root=options.root)
    report = evaluation.report()
    write_text(options.run / "report.txt", report)
    path = options.run / "evaluation.json"
    write_json(
        path,
        {
            "schema": SCHEMA,
            "split": "test",
            "metrics": evaluation.metrics,
            "classes": evaluation.classes,
            "confusion": evaluation.confusion.tolist(),
            "report": report,
        },
    )
    print(report)
    print(path)
