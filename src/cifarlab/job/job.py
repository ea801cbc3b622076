"""One run as configuration: read, checked, named; and built when its time has come.

A `Job` knows neither Hydra nor sweeps: it reads a composed config, from the command line or from a run directory.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab.data.augment import Augment
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.figures import OF_A_RUN
from cifarlab.job.configure import (
    TARGET,
    ConfigError,
    Description,
    config_key,
    config_parameters,
    describe,
    describe_call,
    unknown,
)
from cifarlab.job.search_settings import SearchSettings
from cifarlab.job.settings import Settings
from cifarlab.result import Identity, Result, Scalar, digest
from cifarlab.training.finetune import check
from cifarlab.training.hardware.cost import Cost, cost
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.records.loggers import Loggers
from cifarlab.training.records.watching import Watch
from cifarlab.training.run import run
from cifarlab.training.schedules import Budget

# Group -> where its classes live. Their order is the order in which they may claim a short name as a knob.
ROOMS = {
    "model": "cifarlab.models",
    "penalty": "cifarlab.training.penalties",
    "optimizer": "cifarlab.training.optimizers",
    "schedule": "cifarlab.training.schedules",
    "data": "cifarlab.data",
}
# A recipe or the command line may choose another option of these than the experiment that stands beside it.
REPLACEABLE = ("optimizer", "schedule", "penalty")
CALLS = {"augment": Augment, "trainer": TrainerSettings, "logger": Loggers, "search": SearchSettings}
SEEDS = ("seed", "seed_init", "seed_order", "seed_augment")
# What cannot change the meaning of a run's numbers, and so is no part of its key.
NOT_IN_KEY = {
    "settings": ("checkpoints", "figures", "sweep", "plan", "fresh", "skip_invalid", "zip", "exclude", "allow"),
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
    "search": tuple(config_parameters(SearchSettings)),
}
SETTINGS = tuple(config_parameters(Settings))
INTERPOLATION = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Job:
    """A checked configuration.

    Attributes:
        parts: group -> description of its object; ``settings`` are the keys at the top.
        choices: group -> the chosen option (``resnet``), as far as known; for names and knobs.
        overrides: what was typed to get here.
    """

    parts: Mapping[str, Description]
    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

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
        choices = choices or {}
        nodes, faults = _resolve(config)
        for group in _replaced(choices, overrides):
            nodes[group] = _without_foreign(group, nodes.get(group), overrides)
        parts: dict[str, Description] = {}
        for group in (*ROOMS, *CALLS):
            try:
                parts[group] = _describe_group(group, nodes, allow)
            except ConfigError as error:
                faults += error.faults
        try:
            parts["settings"] = describe_call(Settings, {k: v for k, v in nodes.items() if k in SETTINGS}, key="")
        except ConfigError as error:
            faults += error.faults
        faults += _unread_keys(config, nodes, choices.get("model", "the model"), overrides)
        if faults:
            raise ConfigError(faults)
        job = cls(parts, choices, tuple(overrides))
        _ = job.settings  # relations between its values are checked by building it
        return job

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
        """The key, the group and the knobs, all read from the checked description, defaults included."""
        group = self._plain()
        return Identity(
            key=digest(group | {"seeds": [self.settings.seed, *self.seeds]}),
            group=digest(group),
            knobs=self.knobs,
            overrides=self.overrides,
            seed=self.settings.seed,
        )

    @property
    def knobs(self) -> dict[str, Scalar]:
        """Short name -> value. A part's argument goes by its own name, or ``part.name`` where that is taken."""
        knobs: dict[str, Scalar] = {
            group: choice for group, choice in self.choices.items() if group in (*ROOMS, "recipe")
        }
        # Hydra records no choice for a list of options, such as [crop,flip].
        operations = [name for name, value in self.parts["augment"].arguments.items() if isinstance(value, Description)]
        knobs["augment"] = self.choices.get("augment") or "+".join(operations) or "none"
        for group in ("settings", *ROOMS, "augment", "trainer"):
            hidden = (*NOT_IN_KEY.get(group, ()), *SEEDS)
            for name, value in self.parts[group].scalars():
                if name in hidden or (group == "augment" and value is None):
                    continue
                knobs[f"{group}.{name}" if name in knobs or group == "augment" else name] = value
        return knobs

    def make_data(self) -> ImageData:
        """The data module, not yet prepared."""
        data = self.parts["data"](self.parts["augment"](), self.seeds)
        if not isinstance(data, ImageData):
            raise ConfigError([f"data: an ImageData is needed, not a {type(data).__name__}"])
        return data

    def preflight(self, num_classes: int, image_size: tuple[int, int]) -> Cost:
        """Build everything that can be built without memory or training.

        Raises:
            ValueError: values that are right one by one do not go together.
        """
        for group in ("trainer", "logger"):
            self.parts[group]()
        counted = cost(self.parts["model"], num_classes, image_size)
        with torch.device("meta"):
            net = self.parts["model"](num_classes)
            self.parts["penalty"]()(net)
            optimizer = self.parts["optimizer"](net)
        settings = self.settings
        if settings.finetune is not None:
            devices = self.parts["trainer"].arguments["devices"] * self.parts["trainer"].arguments["num_nodes"]
            makers = (self.parts["optimizer"], self.parts["schedule"])
            check(settings.finetune, net, *makers, epochs=settings.epochs, devices=devices)
            return counted
        # Schedules compare their parts with the epochs; how many steps an epoch has refuses none.
        self.parts["schedule"](optimizer, Budget(settings.epochs, steps_per_epoch=1000))
        return counted

    def execute(self, directory: Path, *, one_of_many: bool = False, watch: Watch | None = None) -> Result:
        """Build the objects and run; a run that is one of many keeps less and shows less, a watch may stop it."""
        settings = self.settings
        keep = {"auto": "best" if one_of_many else "all"}.get(settings.checkpoints, settings.checkpoints)
        return run(
            directory,
            identity=self.identity,
            seeds=self.seeds,
            epochs=settings.epochs,
            net=self.parts["model"],
            data=self.make_data(),
            optimizer=lambda net: self.parts["optimizer"](net),
            schedule=lambda optimizer, budget: self.parts["schedule"](optimizer, budget),
            penalty=self.parts["penalty"](),
            trainer=self.parts["trainer"](),
            loggers=self.parts["logger"](),
            label_smoothing=settings.label_smoothing,
            ema=settings.ema,
            early_stopping=settings.early_stopping,
            finetune=settings.finetune,
            tta=settings.tta,
            checkpoints=keep,  # type: ignore[arg-type]
            figures=[name for name in settings.figures if name in OF_A_RUN],
            one_of_many=one_of_many,
            watch=watch,
        )

    def _plain(self) -> dict[str, Any]:
        """What decides the numbers, without the seeds."""
        plain = {group: part.plain() for group, part in self.parts.items() if group not in ("logger", "search")}
        for group in plain:
            for name in (*NOT_IN_KEY.get(group, ()), *(SEEDS if group == "settings" else ())):
                plain[group].pop(name, None)
        return plain


def _resolve(config: DictConfig) -> tuple[dict[str, Any], list[str]]:
    """The config's top-level values with interpolations resolved, and those that cannot be."""
    nodes: dict[str, Any] = {}
    faults: list[str] = []
    for name in map(str, config):
        try:
            value = config[name]
            nodes[name] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException as error:
            faults.append(f"{name}: {str(error).splitlines()[0]}")
    return nodes, faults


def _replaced(choices: Mapping[str, str], overrides: Sequence[str]) -> list[str]:
    """Groups in which an experiment's option gave way to another one, of the command line or of a recipe."""
    if "experiment" not in choices:
        return []
    typed = {override.partition("=")[0] for override in overrides}
    return [group for group in REPLACEABLE if group in typed or choices.get("recipe", "report") != "report"]


def _without_foreign(group: str, node: Any, overrides: Sequence[str]) -> Any:
    """A node without what an experiment said to the option that was replaced: keys that a neighbour of it takes.

    A key that no option of the group knows, or that was typed, stays, and is refused later.
    """
    module = importlib.import_module(ROOMS[group])
    if not isinstance(node, Mapping) or not hasattr(module, str(node.get(TARGET)).rpartition(".")[2]):
        return node
    keys = {
        name: {config_key(parameter) for parameter in config_parameters(option)}
        for name, option in vars(module).items()
        if callable(option) and f"{option.__module__}.".startswith(f"{module.__name__}.")
    }
    own = keys[str(node[TARGET]).rpartition(".")[2]]
    typed = {override.partition("=")[0] for override in overrides}
    foreign = set().union(*keys.values()) - own - {key.removeprefix(f"{group}.") for key in typed}
    return {name: value for name, value in node.items() if name not in foreign}


def _describe_group(group: str, nodes: Mapping[str, Any], allow: Sequence[str]) -> Description:
    if group == "search" and group not in nodes:  # in a figure's config, or one of before there were searches
        return describe_call(CALLS[group], {}, key=group)
    if group not in nodes:
        raise ConfigError([f"{group}: cannot be taken away; choose one with {group}=NAME"])
    if group in ROOMS:
        return describe(nodes[group], key=group, room=ROOMS[group], allow=allow)
    if not isinstance(nodes[group] or {}, Mapping):
        raise ConfigError([f"{group}={nodes[group]}: a mapping is needed"])
    return describe_call(CALLS[group], nodes[group] or {}, key=group, allow=allow)


def _unread_keys(config: DictConfig, nodes: Mapping[str, Any], model: str, overrides: Sequence[str]) -> list[str]:
    """Faults of the top-level keys that nothing reads: neither settings, nor a group, nor named by an interpolation.

    A short name of a YAML file whose argument was set directly (``model.kernel_size=5``) is overruled by it; one that
    was typed as well would be passed over in silence, and is a fault.
    """
    groups = (*ROOMS, *CALLS)
    read = {*SETTINGS, *groups, *INTERPOLATION.findall(str(OmegaConf.to_container(config)))}
    typed = {override.partition("=")[0] for override in overrides}
    owners = {name: group for group in groups if isinstance(nodes.get(group), Mapping) for name in nodes[group]}
    known = sorted((read | (set(owners) & set(nodes)) - typed) - set(groups))
    faults: list[str] = []
    for name, value in nodes.items():
        if name in read or (name in owners and name not in typed):
            continue
        if name in owners:
            faults.append(f"{name}={value}: nothing reads it; set {owners[name]}.{name} alone")
        else:
            faults.append(unknown(name, value, known).replace(f"there is no key {name}", f"{model} has no {name}"))
    return faults
