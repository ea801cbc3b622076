"""Curves of training: one run with all its splits, or many runs in one plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cifarlab.figures.style import FAINT, PALETTE, QUIET, SEQUENTIAL, canvas, literal, title

History = Mapping[str, Sequence[float] | np.ndarray]
WILD = 4  # times another loss: a run that flattens the others
FAINTEST_RATE = 1e-4  # of the highest: what a schedule that ends at 0 reaches
SPLITS = {"train": PALETTE[1], "val": PALETTE[0]}


def curves(history: History) -> Figure:
    """Loss, accuracy and learning rate by epoch of one run.

    Args:
        history: columns of `history.csv` by name, each (epochs,); NaN where an epoch was not measured. `epoch` may be
            left out and counts from 0 then. Panels without data are left out. Where `phase` changes, a line is drawn.

    Raises:
        ValueError: none of `train/loss val/loss train/acc val/acc lr` is there.
    """
    panels = {
        "loss": [split for split in SPLITS if _measured(history, f"{split}/loss")],
        "accuracy": [split for split in SPLITS if _measured(history, f"{split}/acc")],
        "learning rate": ["lr"] if _measured(history, "lr") else [],
    }
    panels = {name: splits for name, splits in panels.items() if splits}
    if not panels:
        raise ValueError(
            f"history has none of train/loss val/loss train/acc val/acc lr; it has {', '.join(history) or 'nothing'}"
        )
    figure, axes = canvas(4.2 * len(panels), 3.4, 1, len(panels))
    for panel, (name, splits) in zip(axes[0], panels.items(), strict=True):
        for split in splits:
            column = split if split == "lr" else f"{split}/{'acc' if name == 'accuracy' else name}"
            epochs, values = _points(history, column)
            label = f"{'validation' if split == 'val' else split} {values[-1]:.4f}"
            panel.plot(
                epochs, values, color=SPLITS.get(split, PALETTE[2]), marker=_marker(epochs), markersize=3, label=label
            )
        if name == "accuracy" and "val" in splits:
            _mark_best(panel, *_points(history, "val/acc"))
        if name == "learning rate":
            _scale_rates(panel, _points(history, "lr")[1])
        elif name == "loss":
            _scale_losses(panel, [_points(history, f"{split}/loss")[1] for split in splits])
        _mark_phases(panel, history, named=panel is axes[0, 0])
        title(panel, name)
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        if name != "learning rate":
            panel.legend(frameon=False, fontsize=8)
    return figure


COLUMNS = {
    "val/acc": "validation accuracy",
    "train/acc": "training accuracy",
    "val/loss": "validation loss",
    "train/loss": "training loss",
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run among many.

    Attributes:
        name: of the run.
        history: as `curves` takes it.
        colour: what it is coloured by, an entry of the legend.
        is_finished: whether it ended well.
    """

    name: str
    history: History
    colour: str
    is_finished: bool = True


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """Many runs in one plot.

    Attributes:
        curves: the runs.
        legend: the colours' names in order; at most 10 are told apart by hue, more by a sequential scale.
        legend_title: what the runs are coloured by.
    """

    curves: Sequence[Curve]
    legend: Sequence[str]
    legend_title: str

    @property
    def columns(self) -> list[str]:
        """The COLUMNS that some run has measured."""
        return [column for column in COLUMNS if any(_measured(curve.history, column) for curve in self.curves)]

    @property
    def colours(self) -> dict[str, str]:
        """Legend entry -> colour."""
        return dict(zip(self.legend, palette(len(self.legend)), strict=True))

    def title(self, column: str) -> str:
        """A panel's title, which says so if something lies outside of the panel."""
        limits = self.loss_limits(column)
        if limits is None:
            return COLUMNS[column]
        leaving = sum(bool((values > limits[1]).any()) for values in self._values(column))
        return f"{COLUMNS[column]} ({leaving} of {len(self._values(column))} runs leave it)"

    def loss_limits(self, column: str) -> tuple[float, float] | None:
        """What a panel of losses shows, if a run went so high that it would flatten the others; None for all there is.

        The scale is that of the runs whose losses stay below `WILD` times the highest of the calmest run; where these
        are less than half, all are shown, on a logarithmic axis.
        """
        values = self._values(column)
        if not column.endswith("loss") or not values or self.is_log(column):
            return None
        calmest = min(float(own.max()) for own in values)
        calm = np.concatenate([own for own in values if own.max() <= WILD * calmest])
        low, high = float(calm.min()), float(calm.max())
        margin = 0.05 * (high - low)
        return (low - margin, high + margin) if max(float(own.max()) for own in values) > high + margin else None

    def is_log(self, column: str) -> bool:
        """Whether a panel of losses needs a logarithmic axis: most runs went far above the calmest."""
        values = self._values(column)
        if not column.endswith("loss") or min((own.min() for own in values), default=0) <= 0:
            return False
        highest = np.array([own.max() for own in values])
        return bool((highest > WILD * highest.min()).mean() > 0.5)

    def _values(self, column: str) -> list[np.ndarray]:
        return [_points(curve.history, column)[1] for curve in self.curves if _measured(curve.history, column)]


def overlay(data: Overlay) -> Figure:
    """All runs in one plot: accuracy and loss, of validation and training, coloured by setting or by one knob.

    Raises:
        ValueError: no run has a history.
    """
    shown = data.columns
    if not shown:
        raise ValueError("no run has a history of losses or accuracies")
    rows = (len(shown) + 1) // 2
    figure, axes = canvas(11, 3.4 * rows, rows, min(2, len(shown)))
    for panel, column in zip(axes.flat, shown, strict=False):
        _lines(panel, data, column)
        title(panel, data.title(column))
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    handles = [Line2D([], [], color=colour, label=literal(name)) for name, colour in data.colours.items()]
    if not all(curve.is_finished for curve in data.curves):
        handles.append(Line2D([], [], color=QUIET, linestyle=":", label="not finished"))
    figure.legend(
        handles=handles,
        title=literal(data.legend_title),
        loc="outside right upper",
        frameon=False,
        fontsize=8,
        title_fontsize=9,
    )
    return figure


def palette(count: int) -> list[str]:
    """`count` colours: told apart by hue up to ten, along a scale beyond."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    scale = matplotlib.colormaps[SEQUENTIAL]
    return [matplotlib.colors.to_hex(scale(position)) for position in np.linspace(0, 0.95, count)]


def _lines(panel: Axes, data: Overlay, column: str) -> None:
    kept, colours = [curve for curve in data.curves if _measured(curve.history, column)], data.colours
    lines = [np.column_stack(_points(curve.history, column)) for curve in kept]
    panel.add_collection(
        LineCollection(
            lines,
            colors=[colours[curve.colour] for curve in kept],
            linestyles=["-" if curve.is_finished else ":" for curve in kept],
            linewidths=1.4 if len(kept) <= 30 else 0.7,
            alpha=0.85 if len(kept) <= 30 else max(0.2, 20 / len(kept)),
        )
    )
    for curve, line in zip(kept, lines, strict=True):
        if len(line) == 1:
            panel.plot(*line.T, "o", color=colours[curve.colour], markersize=4)
    if data.is_log(column):
        panel.set_yscale("log")
    panel.autoscale_view()
    limits = data.loss_limits(column)
    if limits is not None:
        panel.set_ylim(*limits)


def _measured(history: History, column: str) -> bool:
    return column in history and bool(np.isfinite(np.asarray(history[column], dtype=float)).any())


def _points(history: History, column: str) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(history[column], dtype=float)
    epochs = np.asarray(history.get("epoch", np.arange(len(values))), dtype=float)
    kept = np.isfinite(values) & np.isfinite(epochs)
    return epochs[kept], values[kept]


def _scale_rates(panel: Axes, rates: np.ndarray) -> None:
    """A logarithmic axis, where rates span a factor of ten; one of 0 lies below its end."""
    high, low = float(rates.max()), float(min(rates[rates > 0], default=0))
    if low > 0 and high >= 10 * low:
        panel.set_yscale("log", nonpositive="clip")
        panel.set_ylim(0.7 * max(low, FAINTEST_RATE * high), 1.5 * high)


def _scale_losses(panel: Axes, losses: Sequence[np.ndarray]) -> None:
    """A logarithmic axis, where a loss has risen far above where it began."""
    if any(own.max() > WILD * own[0] for own in losses) and min(own.min() for own in losses) > 0:
        panel.set_yscale("log")


def _marker(epochs: np.ndarray) -> str:
    return "o" if len(epochs) <= 30 else ""


def _mark_phases(panel: Axes, history: History, *, named: bool) -> None:
    """A line between the last epoch of a phase and the first of the next, whose number may stand at its top."""
    if "phase" not in history:
        return
    epochs, phases = _points(history, "phase")
    for after in np.flatnonzero(np.diff(phases)) + 1:
        between = (epochs[after - 1] + epochs[after]) / 2
        panel.axvline(between, color=FAINT, linewidth=1, linestyle="--", zorder=0)
        if named:
            panel.annotate(
                f"phase {phases[after]:g}",
                (between, 1),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                xytext=(3, -10),
                fontsize=8,
                color=QUIET,
            )


def _mark_best(panel: Axes, epochs: np.ndarray, values: np.ndarray) -> None:
    best = int(np.argmax(values))
    panel.axvline(epochs[best], color=FAINT, linewidth=1, zorder=0)
    panel.annotate(
        f"best {values[best]:.4f}",
        (epochs[best], values[best]),
        textcoords="offset points",
        xytext=(-4 if best > len(values) / 2 else 4, 6),
        ha="right" if best > len(values) / 2 else "left",
        fontsize=8,
        color=SPLITS["val"],
    )
