"""The interactive charts of a sweep's page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cifarlab.summary.charts.cost import cost
from cifarlab.summary.charts.curves import curves
from cifarlab.summary.charts.grid3d import grid3d
from cifarlab.summary.charts.heatmap import heatmap
from cifarlab.summary.charts.look import Chart
from cifarlab.summary.charts.marginals import marginals
from cifarlab.summary.charts.search import search
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.plots import cost_of_settings
from cifarlab.summary.tables import METRICS, column, score

__all__ = ["charts"]


def charts(sweep: Sweep, histories: Mapping[str, History]) -> dict[str, Chart]:
    """Every chart that the sweep has data for, by the id of its element."""
    found: dict[str, Chart] = {}
    metrics = measured(sweep)
    axes = sweep.gridded()
    if metrics and sweep.objective is not None:
        found["search"] = search(sweep)
    if metrics and len(axes) > 1:
        found["heatmap"] = heatmap(sweep, axes, metrics)
    if metrics and axes:
        found["marginals"] = marginals(sweep, axes, metrics)
    if metrics and len(axes) > 2:
        found["grid3d"] = grid3d(sweep, axes, metrics)
    if histories:
        found["curves"] = curves(sweep, histories)
    gains, costs, names = cost_of_settings(sweep)
    if np.isfinite(gains).any() and costs:
        found["cost"] = cost(sweep, gains, costs, names)
    return found


def measured(sweep: Sweep) -> list[str]:
    """The metrics that some finished run has; what settings are ranked by comes first."""
    done = sweep.runs["status"] == "finished"
    first = score(sweep)
    return [name for name in dict.fromkeys([first, *METRICS]) if column(sweep, name)[done].notna().any()]
