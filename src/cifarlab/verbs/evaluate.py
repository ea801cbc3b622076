"""``python evaluate.py run=RUN_DIR``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cifarlab.configure import describe_call
from cifarlab.result import SCHEMA, write_json, write_text
from cifarlab.training.reopen import evaluate_again
from cifarlab.verbs.command_line import leave


class Options:
    """What `evaluate.py` is told.

    Args:
        run: directory of a single run or of a cell of a sweep.
        root: where the data sets lie now; as the run had it if null.
        allow: import paths of your own models and data sets that the run's config may name.
    """

    def __init__(self, *, run: str, root: str | None = None, allow: tuple[str, ...] = ()) -> None:
        self.run = Path(run)
        self.root = root
        self.allow = allow


def evaluate(config: DictConfig) -> None:
    """Write ``evaluation.json`` and ``report.txt`` into the run directory and print the report."""
    try:
        given = OmegaConf.to_container(config, resolve=True)
        _evaluate(describe_call(Options, {str(key): value for key, value in dict(given).items()}, key="")())
    except ValueError as error:
        leave(error)


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
