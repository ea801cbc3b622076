"""The interactive charts of a sweep's page: the data of `summary.arrange`, drawn by plotly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import plotly.graph_objects as go

from cifarlab.figures import OfSweep
from cifarlab.summary.arrange import cost_of, overlay_of, trials_of
from cifarlab.summary.charts.cost import cost
from cifarlab.summary.charts.curves import MOST_CURVES, curves
from cifarlab.summary.charts.marginals import marginals
from cifarlab.summary.charts.search import search
from cifarlab.summary.charts.surfaces import grid3d, heatmap
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import METRICS, column, score

__all__ = ["charts"]


def charts(sweep: Sweep, histories: Mapping[str, History]) -> dict[OfSweep, go.Figure | str]:
    """Every chart that the sweep has data for, by the name of the figure, or why it could not be drawn."""
    found: dict[OfSweep, go.Figure | str] = {}
    for name, draw in _drawn(sweep, histories).items():
        try:
            found[name] = draw()
        except Exception as fault:  # whatever is wrong with one chart, the rest of the page does not wait for it
            found[name] = f"{type(fault).__name__}: {fault}"
    return found


def _drawn(sweep: Sweep, histories: Mapping[str, History]) -> dict[OfSweep, Callable[[], go.Figure]]:
    drawn: dict[OfSweep, Callable[[], go.Figure]] = {}
    metrics = measured(sweep)
    axes = sweep.gridded()
    if metrics and sweep.objective is not None:
        drawn["search"] = lambda: search(trials_of(sweep))
    if metrics and len(axes) > 1:
        drawn["heatmap"] = lambda: heatmap(sweep, axes, metrics)
    if metrics and axes:
        drawn["marginal"] = lambda: marginals(sweep, axes, metrics)
    if metrics and len(axes) > 2:
        drawn["grid3d"] = lambda: grid3d(sweep, axes, metrics)
    if histories:
        drawn["curves"] = lambda: curves(overlay_of(sweep, histories, MOST_CURVES))
    spent = cost_of(sweep)
    if spent.kinds:
        drawn["cost"] = lambda: cost(spent)
    return drawn


def measured(sweep: Sweep) -> list[str]:
    """The metrics that some finished run has; what settings are ranked by comes first."""
    first = score(sweep)
    return [name for name in dict.fromkeys([first, *METRICS]) if column(sweep, name)[sweep.is_finished].notna().any()]
