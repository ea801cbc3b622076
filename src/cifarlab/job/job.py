"""One run as configuration: read, checked, named; and executed when its time has come.

A `Job` knows neither Hydra nor sweeps. It is a plain value: a sweep makes one for each cell, keeps it, and runs that.
Reading one needs no torch; the methods that build something import it, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from cifarlab.data.fold import parse_fold
from cifarlab.data.seeds import Seeds
from cifarlab.figures import OF_A_RUN
from cifarlab.job.configure import ConfigError, Description
from cifarlab.job.nets import Nets
from cifarlab.job.nodes import CALLS, OF_A_SWEEP, ROOMS, SHORT_NAMES, read_parts
from cifarlab.job.once import Once
from cifarlab.job.settings import Settings
from cifarlab.result import REPLICATES, Identity, Result, Scalar, digest
from cifarlab.training.recipe import Recipe
from cifarlab.training.records.claim import claim
from cifarlab.training.records.watching import Watch

if TYPE_CHECKING:
    from cifarlab.data.module import ImageData
    from cifarlab.training.hardware.counts import Cost

SEEDS = ("seed", "seed_init", "seed_order", "seed_augment")
# What cannot change the meaning of a run's numbers, and so is no part of its key.
NOT_IN_KEY = {
    "settings": ("continue_from", "parent", "checkpoints", "figures", "allow"),
    "data": ("root",),
    "trainer": (
        "accelerator",
        "devices",
        "strategy",
        "num_nodes",
        "compile",
        "record",
        "channels_last",
        "progress_bar",
    ),
}
# Names that arguments of several groups share. As a knob each goes by its key (`model.name`, `optimizer.name`),
# whatever else is chosen, so that a column of a table never changes its meaning. A test compares with the signatures.
AMBIGUOUS = frozenset({"image_size", "layers", "name", "normalize"})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A checked configuration. It can be pickled.

    Attributes:
        parts: group -> description of its object; ``settings`` are the keys at the top.
        config: what `parts` was read from, resolved: JSON-able, as it is written into the run directory.
        choices: group -> the chosen option (``resnet``), as far as known; for names and knobs.
        overrides: what was typed to get here.
        beside: keys that the config holds for the sweep that the run is a part of; nothing here reads them.
        recorded: key and group as the run directory has them, of a run that was begun by an earlier version.
    """

    parts: Mapping[str, Description]
    config: Mapping[str, Any]
    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    recorded: tuple[str, str] | None = None

    @classmethod
    def read(
        cls,
        config: DictConfig,
        *,
        choices: Mapping[str, str] | None = None,
        overrides: Sequence[str] = (),
        allow: Sequence[str] = (),
    ) -> Job:
        """Check a composed config.

        Args:
            config: as composed, interpolations unresolved.
            choices: group -> chosen option.
            overrides: what was typed.
            allow: import paths outside this package that nodes may name.

        Raises:
            ConfigError: every fault of the config at once.
        """
        parts, resolved = read_parts(config, choices or {}, overrides, allow)
        own = {name: value for name, value in resolved.items() if name not in OF_A_SWEEP}
        beside = {name: value for name, value in resolved.items() if name in OF_A_SWEEP}
        job = cls(parts=parts, config=own, choices=choices or {}, overrides=tuple(overrides), beside=beside)
        _ = job.settings  # relations between its values are checked by building it
        return job

    def changed(self, **values: Any) -> Job:
        """The same job with other values of keys that are no part of its key: ``trainer__progress_bar=False``.

        Args:
            values: key -> value, with two underscores for the dot.
        """
        parts, config = dict(self.parts), dict(self.config)
        for name, value in values.items():
            group, _, key = name.rpartition("__")
            part = parts[group or "settings"]
            assert key in NOT_IN_KEY[group or "settings"], f"{name} would make it another run"
            parts[group or "settings"] = replace(part, arguments={**part.arguments, key: value})
            config |= {group: {**(config.get(group) or {}), key: value}} if group else {key: value}
        return replace(self, parts=parts, config=config)

    def pinned(self, contents: Once | None = None) -> Job:
        """The same job, with the digest of the pictures that it means where they are the user's own.

        A run goes by that digest: its key does not depend on where the pictures lie, and other ones that have taken
        their place make another run.

        Args:
            contents: digests that were found for other jobs; every file is looked at for one.

        Raises:
            ValueError: the pictures are not there, or cannot be packed.
        """
        part = self.parts["data"]
        source = part.arguments.get("source")
        if not isinstance(source, Description) or source.arguments.get("content", "") is not None:
            return self
        data = self.make_data()
        meant = digest([source.plain(), part.arguments["image_size"], str(data.root)])
        content = (contents or Once())(meant, lambda: data.source.content(data.root))
        named = replace(source, arguments={**source.arguments, "content": content})
        config = OmegaConf.create(dict(self.config))
        OmegaConf.update(config, "data.source.content", content, force_add=True)
        return replace(
            self,
            parts={**self.parts, "data": replace(part, arguments={**part.arguments, "source": named})},
            config=cast(dict[str, Any], OmegaConf.to_container(config)),
        )

    @cached_property
    def settings(self) -> Settings:
        return self.parts["settings"]()

    @property
    def seeds(self) -> Seeds:
        given = self.settings
        own = (given.seed_init, given.seed_order, given.seed_augment)
        return Seeds(*(given.seed if seed is None else seed for seed in own))

    @cached_property
    def identity(self) -> Identity:
        """Who the run is: key and group of what deviates from the defaults, knobs of all there is."""
        key, group = self.recorded or self.digests
        return Identity(key=key, group=group, knobs=self.knobs, overrides=self.overrides, seed=self.settings.seed)

    @cached_property
    def digests(self) -> tuple[str, str]:
        """Key and group as this version makes them."""
        key: dict[str, Any] = {
            name: part.deviations(without=(*NOT_IN_KEY.get(name, ()), *(SEEDS if name == "settings" else ())))
            for name, part in self.parts.items()
            if name != "logger"
        }
        data = {name: value for name, value in key["data"].items() if name not in REPLICATES}
        group = key | {"data": data | ({"folds": self.folds} if self.folds else {})}
        if (parent := self.settings.parent) is not None:  # by what it is, not where: its key in the key
            key |= {"parent": parent.key}
            group |= {"parent": self.settings.parents_group}
        return digest(key | {"seeds": [self.settings.seed, *self.seeds]}), digest(group)

    @property
    def folds(self) -> int | None:
        """Into how many parts train is cut for cross-validation, if it is."""
        fold = self.parts["data"].arguments.get("fold")
        return parse_fold(fold)[1] if isinstance(fold, str) else None

    @property
    def knobs(self) -> dict[str, Scalar]:
        """Name -> value: an argument by its bare name, by its key (``part.name``) where the name is not its own."""
        knobs: dict[str, Scalar] = {
            group: choice for group, choice in self.choices.items() if group in (*ROOMS, "recipe")
        }
        # Hydra records no choice for a list of options, such as [crop,flip].
        operations = [name for name, value in self.parts["augment"].arguments.items() if isinstance(value, Description)]
        knobs["augment"] = self.choices.get("augment") or "+".join(operations) or "none"
        if self.settings.parent is not None:
            knobs["parent"] = self.settings.parent.key
        for group in ("settings", *ROOMS, "augment", "trainer"):
            hidden = (*NOT_IN_KEY.get(group, ()), *SEEDS)
            for name, value in self.parts[group].scalars():
                if name in hidden or (group == "augment" and value is None):
                    continue
                knobs[name if self._is_its_own(name, group, knobs) else f"{group}.{name}"] = value
        return knobs | ({"folds": self.folds} if self.folds else {})

    def make_data(self) -> ImageData:
        """The data module, not yet prepared."""
        from cifarlab.data.module import ImageData

        data = self.parts["data"](self.parts["augment"](), self.seeds)
        if not isinstance(data, ImageData):
            raise ConfigError([f"data: an ImageData is needed, not a {type(data).__name__}"])
        return data

    def preflight(self, num_classes: int, image_size: tuple[int, int], nets: Nets | None = None) -> Cost:
        """Build everything that can be built without memory or training.

        Args:
            num_classes: of the pictures.
            image_size: height and width in pixels.
            nets: where other jobs have theirs from.

        Raises:
            ValueError: values that are right one by one do not go together.
        """
        import torch

        from cifarlab.training.finetune import check
        from cifarlab.training.records.inheritance import check_fit
        from cifarlab.training.schedules import Budget

        nets = nets or Nets()
        for group in ("trainer", "logger"):
            self.parts[group]()
        counted = nets.cost(self.parts["model"], num_classes, image_size)
        net = nets.net(self.parts["model"], num_classes)
        with torch.device("meta"):
            self.parts["penalty"]()(net)
            optimizer = self.parts["optimizer"](net)
        settings = self.settings
        if settings.parent is not None:
            check_fit(settings.parent, net, optimizer)
        if settings.finetune is not None:
            devices = self.parts["trainer"].arguments["devices"] * self.parts["trainer"].arguments["num_nodes"]
            makers = (self.parts["optimizer"], self.parts["schedule"])
            check(settings.finetune, net, *makers, epochs=settings.epochs, devices=devices)
            return counted
        # Schedules compare their parts with the epochs; how many steps an epoch has refuses none.
        self.parts["schedule"](optimizer, Budget(settings.epochs, steps_per_epoch=1000))
        return counted

    def execute(self, directory: Path, *, aloud: bool = True, watch: Watch | None = None) -> Result:
        """Build the objects and run; aloud on the terminal or not; a watch may stop it.

        Raises:
            Occupied: another process is at work in the directory.
            UnusableCheckpoint: what lies there cannot be gone on with.
        """
        with claim(directory):
            return self._run(directory, aloud, watch)

    def _run(self, directory: Path, aloud: bool, watch: Watch | None) -> Result:
        from cifarlab.training.run import run

        settings = self.settings
        return run(
            directory,
            identity=self.identity,
            seeds=self.seeds,
            recipe=Recipe(
                epochs=settings.epochs,
                label_smoothing=settings.label_smoothing,
                ema=settings.ema,
                early_stopping=settings.early_stopping,
                finetune=settings.finetune,
                tta=settings.tta,
            ),
            net=self.parts["model"],
            data=self.make_data(),
            optimizer=lambda net: self.parts["optimizer"](net),
            schedule=lambda optimizer, budget: self.parts["schedule"](optimizer, budget),
            penalty=self.parts["penalty"](),
            trainer=self.parts["trainer"](),
            loggers=self.parts["logger"](),
            checkpoints="all" if settings.checkpoints == "auto" else settings.checkpoints,
            figures=[name for name in settings.figures if name in OF_A_RUN],
            aloud=aloud,
            watch=watch,
            parent=settings.parent,
        )

    def _is_its_own(self, name: str, group: str, knobs: Mapping[str, Scalar]) -> bool:
        """Whether an argument's bare name can mean no other one."""
        if group == "settings" or name in SHORT_NAMES.get(group, ()):
            return True
        return group != "augment" and name not in AMBIGUOUS and name not in knobs and name not in CALLS
