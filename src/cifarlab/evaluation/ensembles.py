"""What the runs of a sweep say together: the mean of their probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cifarlab.evaluation.calibration import fit_temperature, measures
from cifarlab.training.step.arithmetic import right_within

MOST_SUBSETS = 50  # of one size whose mean is drawn
MOST_SETTINGS = 10  # that are joined

Answers = tuple[Tensor, Tensor]  # logits (N, C) and labels (N,)


@dataclass(frozen=True)
class Member:
    """A run's answers.

    Attributes:
        name: of the run.
        setting: what it shares with its repetitions, in words.
        val: on its validation split; None where it has none.
        test: on the test split.
    """

    name: str
    setting: str
    val: Answers | None
    test: Answers

    def accuracy(self, split: str) -> float:
        answered = self.test if split == "test" else self.val
        return math.nan if answered is None else accuracy(answered)


def accuracy(answered: Answers) -> float:
    return right_within(*answered).double().mean().item()


def joined(answers: Sequence[Answers]) -> Answers:
    """The logarithm of the mean of the members' probabilities, float64 ``(N, C)``, and the labels."""
    together = torch.stack([logits.double().log_softmax(dim=1) for logits, _ in answers]).logsumexp(0)
    return together - math.log(len(answers)), answers[0][1]


def join(members: Sequence[Member]) -> Member:
    """The members as one; with a validation split where all have the same."""
    splits = [member.val for member in members if member.val is not None]
    shared = len(splits) == len(members) and all(torch.equal(labels, splits[0][1]) for _, labels in splits)
    return Member(
        name=" and ".join(member.name for member in members),
        setting=" and ".join(dict.fromkeys(member.setting for member in members)),
        val=joined(splits) if shared else None,
        test=joined([member.test for member in members]),
    )


def disagreement(members: Sequence[Member]) -> float:
    """Share of test pictures that two members call differently, the mean over pairs; NaN for one member."""
    guesses = [member.test[0].argmax(dim=1) for member in members]
    pairs = [(a != b).double().mean().item() for a, b in itertools.combinations(guesses, 2)]
    return float(np.mean(pairs)) if pairs else math.nan


def describe(members: Sequence[Member]) -> dict[str, float | str]:
    """An ensemble as a row: accuracy and calibration beside those of its mean member, gain and diversity."""
    together = join(members)
    row: dict[str, float | str] = {"setting": together.setting, "members": len(members)}
    for split in ("val", "test"):
        answered = together.test if split == "test" else together.val
        alone = float(np.mean([member.accuracy(split) for member in members]))
        ensemble = together.accuracy(split)
        row |= {f"{split}/acc_member": alone, f"{split}/acc": ensemble, f"{split}/gain": ensemble - alone}
        if answered is not None:
            row |= {f"{split}/{name}": value for name, value in measures(*answered).items()}
    if together.val is not None:
        temperature = fit_temperature(*together.val)
        scaled = measures(*together.test, temperature)
        row |= {"temperature": temperature} | {f"test/{name}_scaled": value for name, value in scaled.items()}
    member_ece = [measures(*member.test)["ece"] for member in members]
    return row | {"test/ece_member": float(np.mean(member_ece)), "test/disagreement": disagreement(members)}


def by_setting(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Setting -> its runs, the best mean validation accuracy first; as met where nothing was validated."""
    settings: dict[str, list[Member]] = {}
    for member in members:
        settings.setdefault(member.setting, []).append(member)
    scores = {name: np.mean([each.accuracy("val") for each in own]) for name, own in settings.items()}
    return dict(sorted(settings.items(), key=lambda item: -np.nan_to_num(scores[item[0]], nan=-np.inf)))


def best_settings(settings: Mapping[str, Sequence[Member]]) -> list[Member] | None:
    """The runs of the best settings together: of the first one, two, three, ... by mean validation accuracy as many as
    together have the highest validation accuracy. None where that is one setting, or nothing tells."""
    ranked = list(settings.values())[:MOST_SETTINGS]
    pools = [[member for own in ranked[:count] for member in own] for count in range(1, len(ranked) + 1)]
    scores = [join(pool).accuracy("val") for pool in pools]
    if not np.isfinite(scores).all():
        return None
    best = int(np.argmax(scores))
    return pools[best] if best > 0 else None


@dataclass(frozen=True)
class Growth:
    """How an ensemble gains with its members.

    Attributes:
        setting: in words.
        mean: ``(n,)``: test accuracy of ensembles of 1, 2, ..., n members, the mean over subsets of that size.
        sd: ``(n,)``: their standard deviation; 0 for a single subset.
    """

    setting: str
    mean: np.ndarray
    sd: np.ndarray


def growth(setting: str, members: Sequence[Member], *, seed: int = 0) -> Growth:
    """Test accuracy by number of members: of all subsets, or of `MOST_SUBSETS` drawn ones where there are more."""
    random = np.random.default_rng(seed)
    mean, sd = [], []
    for size in range(1, len(members) + 1):
        if math.comb(len(members), size) <= MOST_SUBSETS:
            subsets = [list(chosen) for chosen in itertools.combinations(range(len(members)), size)]
        else:
            subsets = [list(random.choice(len(members), size, replace=False)) for _ in range(MOST_SUBSETS)]
        scores = [accuracy(joined([members[place].test for place in subset])) for subset in subsets]
        mean.append(np.mean(scores))
        sd.append(np.std(scores, ddof=1) if len(scores) > 1 else 0.0)
    return Growth(setting, np.array(mean), np.array(sd))
