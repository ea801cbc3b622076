"""The interactive charts of a sweep's page: the data of `summary.arrange`, drawn by plotly."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from cifarlab.figures import OfSweep
from cifarlab.summary.arrange import cost_of, overlay_of, trials_of
from cifarlab.summary.charts.cost import cost
from cifarlab.summary.charts.curves import curves
from cifarlab.summary.charts.marginals import marginals
from cifarlab.summary.charts.search import search
from cifarlab.summary.charts.surfaces import grid3d, heatmap
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import METRICS, column, score

__all__ = ["charts"]

MOST_CURVES = 300


def charts(sweep: Sweep, histories: Mapping[str, History]) -> dict[OfSweep, go.Figure]:
    """Every chart that the sweep has data for, by the name of the figure."""
    found: dict[OfSweep, go.Figure] = {}
    metrics = measured(sweep)
    axes = sweep.gridded()
    if metrics and sweep.objective is not None:
        found["search"] = search(trials_of(sweep))
    if metrics and len(axes) > 1:
        found["heatmap"] = heatmap(sweep, axes, metrics)
    if metrics and axes:
        found["marginal"] = marginals(sweep, axes, metrics)
    if metrics and len(axes) > 2:
        found["grid3d"] = grid3d(sweep, axes, metrics)
    runs = overlay_of(sweep, histories, MOST_CURVES)
    if runs.columns:
        found["curves"] = curves(runs)
    spent = cost_of(sweep)
    if spent.kinds:
        found["cost"] = cost(spent)
    return found


def measured(sweep: Sweep) -> list[str]:
    """The metrics that some finished run has; what settings are ranked by comes first."""
    first = score(sweep)
    return [name for name in dict.fromkeys([first, *METRICS]) if column(sweep, name)[sweep.is_finished].notna().any()]
