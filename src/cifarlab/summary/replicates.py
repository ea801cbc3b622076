"""What repeats a setting: seeds, which are independent, and folds and other splits, which share pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cifarlab.result import REPLICATES
from cifarlab.summary.load import Sweep
from cifarlab.summary.values import absent, label

SPLITS = ("fold", "split_seed")  # runs of different values of these are trained on partly the same pictures
CORRECTED = (
    "Folds and splits repeat a setting as seeds do, but share pictures: standard errors, intervals and tests are the "
    "corrected resampled ones of Nadeau and Bengio (2003), with 1/n + n2/n1 in the place of 1/n (n2 pictures "
    "validated, n1 trained on; 1 / (K - 1) of K folds)."
)


def blocks(sweep: Sweep) -> np.ndarray:
    """(runs,) int: the same for runs with the same seeds and the same fold, whatever their setting."""
    names = [name for name in REPLICATES if name in sweep.runs]
    texts = pd.Series([""] * len(sweep.runs), index=sweep.runs.index)
    for name in names:
        texts = texts + sweep.runs[name].map(label) + " "
    return pd.factorize(texts)[0]


def overlap(sweep: Sweep) -> pd.Series:
    """(runs,) float: n2/n1 of Nadeau and Bengio of a run's setting; 0 where all of its runs share one split.

    Of K folds 1 / (K - 1), of splits by other seeds the share of validation against that of training.
    """
    runs, none = sweep.runs, pd.Series(0.0, index=sweep.runs.index)
    if not any(name in runs and runs[name].map(label).nunique() > 1 for name in SPLITS):
        return none
    fold = runs["fold"] if "fold" in runs else none.map(lambda _: None)
    seed = runs.get("split_seed", none)
    several = (fold.map(label) + " " + seed.map(label)).groupby(runs["group"]).transform("nunique") > 1
    share = pd.to_numeric(runs["val_fraction"], errors="coerce").fillna(0.0) if "val_fraction" in runs else none
    ratio = [_of_folds(text) or part / (1 - part) for text, part in zip(fold, share, strict=True)]
    return pd.Series(ratio, index=runs.index).where(several, 0.0).astype(float)


def _of_folds(fold: object) -> float:
    """1 / (K - 1) of `k/K`; 0 where there is no fold."""
    if absent(fold) or "/" not in str(fold):
        return 0.0
    return 1.0 / (int(str(fold).partition("/")[2]) - 1)


def in_words(sweep: Sweep) -> str:
    """`seeds`, `folds`, `seeds and folds`, `splits`: what runs of one setting differ in."""
    varied = [name for name in REPLICATES if name in sweep.runs and _distinct(sweep.runs[name]) > 1]
    words = {"fold": "folds", "split_seed": "splits"}
    found = list(dict.fromkeys(words.get(name, "seeds") for name in varied))
    return " and ".join(found) or "seeds"


def _distinct(values: pd.Series) -> int:
    return len({label(value) for value in values.unique()})
