"""The keys at the top of a configuration that belong to no group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from cifarlab.figures import OF_A_RUN, OF_A_SWEEP, is_known
from cifarlab.training.recipe import Finetune, Parent, Views

Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


class Settings:
    """What a run is told besides its parts.

    Args:
        seed: governs everything random; 0 is a seed.
        seed_init: of the first weights; ``seed`` unless given.
        seed_order: of the order of the training pictures; ``seed`` unless given.
        seed_augment: of the augmentation and of dropout; ``seed`` unless given.
        epochs: passes over the training split.
        label_smoothing: share of the target spread over all classes.
        ema: decay of the moving average of the weights that is validated, kept and tested; null takes them as they are.
        early_stopping: epochs without a better validation loss after which training ends; null trains to the end.
        finetune: two phases: the head of a trained net alone, for ``head_epochs`` epochs or that share of the run, then
            all of it at the learning rate ``lr``; null trains everything from the start.
        tta: test-time augmentation, for ``test/acc_tta`` beside the plain ``test/acc``: the logits of a picture and its
            mirror image averaged, or of these and both shifted by a pixel.
        continue_from: directory of a finished run that kept its last state (``checkpoints=all``): this run has its
            configuration but for what is typed, and trains its net on up to more epochs in all (``epochs=40``, or
            ``epochs=+10``).
        parent: set by ``continue_from``: KEY/GROUP of that run.
        checkpoints: what a finished run keeps: all, only the best weights, or none.
        figures: pictures drawn at the end of a run or of a sweep.
        allow: import paths of your own models, data sets and augmentations that a config may name; only the command
            line may set it.

    Raises:
        ValueError: a figure that nobody draws, or a second phase of ``finetune`` without an epoch.
    """

    def __init__(
        self,
        *,
        seed: Seed = 0,
        seed_init: Seed | None = None,
        seed_order: Seed | None = None,
        seed_augment: Seed | None = None,
        epochs: Annotated[int, Ge(1), Le(1_000_000)] = 30,
        label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
        ema: Annotated[float, Gt(0), Lt(1)] | None = None,
        early_stopping: Annotated[int, Gt(0)] | None = None,
        finetune: Finetune | None = None,
        tta: Views = "none",
        continue_from: str | None = None,
        parent: str | None = None,
        checkpoints: Literal["auto", "all", "best", "none"] = "auto",
        figures: tuple[str, ...] = OF_A_RUN,
        allow: tuple[str, ...] = (),
    ) -> None:
        for name in figures:
            if not is_known(name):
                known = ", ".join(dict.fromkeys(OF_A_RUN + OF_A_SWEEP))
                raise ValueError(f"figures={name}: there is no such figure; allowed: {known}")
        if (continue_from is None) != (parent is None):
            raise ValueError(f"parent={parent}: it is set by continue_from=RUN_DIR, and by nothing else")
        if finetune is not None:
            finetune.lengths(epochs)
        self.seed = seed
        self.seed_init = seed_init
        self.seed_order = seed_order
        self.seed_augment = seed_augment
        self.epochs = epochs
        self.label_smoothing = label_smoothing
        self.ema = ema
        self.early_stopping = early_stopping
        self.finetune = finetune
        self.tta = tta
        key, _, self.parents_group = (parent or "").partition("/")
        self.parent = None if continue_from is None else Parent(key, Path(continue_from))
        self.checkpoints = checkpoints
        self.figures = figures
        self.allow = allow
