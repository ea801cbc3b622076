"""Pictures: arrays in, matplotlib `Figure` out. The names of all figures stand here and nowhere else."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

OfRun = Literal["curves", "confusion"]
OfSweep = Literal["curves", "cost", "search", "marginal", "heatmap", "grid3d"]
OfVisualize = Literal[
    "samples",
    "augmentations",
    "curves",
    "filters",
    "features",
    "confusion",
    "calibration",
    "mistakes",
    "ascent",
    "gradcam",
    "attribution",
    "embedding",
]

# Over how many knobs a sweep's figure goes; their names follow its own.
KNOBS: Mapping[OfSweep, int] = {"curves": 0, "cost": 0, "search": 0, "marginal": 1, "heatmap": 2, "grid3d": 3}

# What `figures=` takes: pictures of one run, and of a sweep (X, Y, Z stand for knobs).
OF_A_RUN: tuple[str, ...] = get_args(OfRun)
OF_A_SWEEP = tuple("_".join([kind, *"XYZ"[:knobs]]) for kind, knobs in KNOBS.items())


def is_known(name: str) -> bool:
    """Whether a run or a sweep can draw a figure of this name."""
    return name in OF_A_RUN or any(re.fullmatch(kind + "_.+" * knobs, name) for kind, knobs in KNOBS.items())


def sweep_figures(axes: Sequence[str]) -> dict[str, tuple[OfSweep, tuple[str, ...]]]:
    """Every figure of a sweep over these axes (seeds left out), by name: its kind, and the axes in its order."""
    return {
        figure_name(kind, chosen): (kind, chosen)
        for kind, knobs in KNOBS.items()
        for chosen in itertools.permutations(axes, knobs)
    }


def figure_names(axes: Sequence[str]) -> list[str]:
    """Every figure that a sweep over these axes can be asked for, axes in any order."""
    return list(sweep_figures(axes))


def figure_name(kind: str, axes: Sequence[str]) -> str:
    """The name of a sweep's figure, which is that of its file too: `heatmap_blocks_kernel_size`."""
    return "_".join(re.sub(r"[^A-Za-z0-9._+-]", "-", part) for part in (kind, *axes))
