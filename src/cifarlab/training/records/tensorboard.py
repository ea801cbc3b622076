"""What TensorBoard shows of a run: curves of train and validation side by side, and a row of the HPARAMS tab."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from cifarlab.result import Result, Scalar

# Sections are in alphabetical order: lr, train, val, and only then what the run came to.
RESULT = "weights_chosen"
METRICS = ("val/acc", "test/acc", "val/loss", "test/loss", "train/acc", "train/loss")
# Lightning's own column, and what RESULT has too.
LEFT_OUT = ("epoch", "test/")
LAYOUT = {
    "train and validation": {
        "accuracy": ["Multiline", ["train/acc", "val/acc"]],
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "learning rate": ["Multiline", ["lr"]],
    }
}


def lay_out(logger: TensorBoardLogger) -> None:
    """Put train and validation into one chart each, in the tab CUSTOM SCALARS."""
    logger.experiment.add_custom_scalars(LAYOUT)


def curves_only(metrics: dict[str, float]) -> dict[str, float]:
    """What belongs into the charts over steps."""
    return {name: value for name, value in metrics.items() if not name.startswith(LEFT_OUT)}


def add_row(logger: TensorBoardLogger, record: Result, name: str) -> None:
    """Put a run that has ended into the HPARAMS tab under its name, with its status: what was typed comes first, then
    the other knobs, then the metrics of the chosen weights. One that diverged has NaN for a validation accuracy.
    """
    from tensorboard.plugins.hparams import api_pb2, summary_v2

    metrics = {"val/acc": math.nan, **record.metrics}
    ordered = [*(metric for metric in METRICS if metric in metrics), *(m for m in metrics if m not in METRICS)]
    logger.log_metrics({f"{RESULT}/{metric}": metrics[metric] for metric in ordered}, step=0)
    typed = {override.lstrip("+").partition("=")[0].rpartition(".")[2] for override in record.overrides}
    knobs = dict(_knobs(record))
    config = summary_v2.hparams_config_pb(
        hparams=[summary_v2.HParam(knob) for knob in knobs],
        metrics=[summary_v2.Metric(f"{RESULT}/{metric}", display_name=metric) for metric in ordered],
    )
    content = summary_v2.plugin_data_pb2.HParamsPluginData.FromString(config.value[0].metadata.plugin_data.content)
    for info in content.experiment.hparam_infos:
        # The tab puts those that differ before the others.
        info.differs = info.name in typed or info.name == "status"
        is_text = isinstance(knobs[info.name], str)
        info.type = api_pb2.DATA_TYPE_STRING if is_text else api_pb2.DATA_TYPE_FLOAT64
    config.value[0].metadata.plugin_data.content = content.SerializeToString()
    writer: Any = logger.experiment._get_file_writer()
    for summary in (config, summary_v2.hparams_pb(knobs, trial_id=name)):
        writer.add_summary(summary)
    logger.save()


def _knobs(record: Result) -> Iterator[tuple[str, Scalar]]:
    """Status, seed and knobs as the tab takes them: numbers, or text."""
    for name, value in {"status": str(record.status), "seed": record.seed, **record.knobs}.items():
        if isinstance(value, bool) or value is None:
            yield name, str(value).lower()
        else:
            yield name, value
