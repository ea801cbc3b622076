"""Pictures: arrays in, matplotlib `Figure` out."""

import re

# What `figures=` takes: pictures of one run, and of a sweep (X, Y, Z stand for knobs).
OF_A_RUN = ("curves", "confusion")
OF_A_SWEEP = ("heatmap_X_Y", "marginal_X", "grid3d_X_Y_Z", "curves", "cost", "search")
_SWEEP_NAME = re.compile(r"heatmap_.+_.+|marginal_.+|grid3d_.+_.+_.+|curves|cost|search")


def is_known(name: str) -> bool:
    """Whether a run or a sweep can draw a figure of this name."""
    return name in OF_A_RUN or _SWEEP_NAME.fullmatch(name) is not None
