"""From a composed config to checked descriptions: which node is whose, and where a short name belongs."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab.job.configure import (
    TARGET,
    ConfigError,
    Description,
    config_key,
    config_parameters,
    describe,
    describe_call,
    locate,
    unknown,
)
from cifarlab.job.settings import Settings
from cifarlab.job.source import constructor, constructors

# Group -> where its classes live. Their order is the order in which they may claim a name as a knob.
ROOMS = {
    "model": "cifarlab.models",
    "penalty": "cifarlab.training.penalties",
    "optimizer": "cifarlab.training.optimizers",
    "schedule": "cifarlab.training.schedules",
    "data": "cifarlab.data",
}
CALLS = {
    "augment": constructor("cifarlab.data.augment.pipeline", "Augment"),
    "trainer": constructor("cifarlab.training.hardware.trainer", "TrainerSettings"),
    "logger": constructor("cifarlab.training.records.loggers", "Loggers"),
}
# Arguments that may be set at the top of a config, without their group, where the chosen class has them.
SHORT_NAMES = {
    "model": ("blocks", "kernel_size", "width", "dropout", "activation"),
    "penalty": ("alpha", "lambda"),
    "optimizer": ("lr",),
    "data": ("batch_size", "limit"),
    "trainer": ("precision",),
}
OWNERS = {name: group for group, names in SHORT_NAMES.items() for name in names}
# A recipe or the command line may choose another option of these than the experiment that stands beside it.
REPLACEABLE = ("optimizer", "schedule", "penalty")
SETTINGS = tuple(config_parameters(Settings))
# Groups that leave no key of their name in a composed config.
OPTIONAL_GROUPS = ("experiment", "recipe", "debug")
# Keys that a composed config holds for the sweep that a run is a part of.
OF_A_SWEEP = ("sweep", "plan", "fresh", "skip_invalid", "folds", "confirm", "zip", "exclude", "search")
INTERPOLATION = re.compile(r"\$\{(\w+)\}")


def read_parts(
    config: DictConfig, choices: Mapping[str, str], overrides: Sequence[str], allow: Sequence[str]
) -> tuple[dict[str, Description], dict[str, Any]]:
    """The checked descriptions of a config's groups, and the config without interpolations.

    Raises:
        ConfigError: every fault of the config at once.
    """
    nodes, faults = _resolve(config)
    resolved = dict(nodes)
    replaced = _replaced(choices, overrides)
    for group in replaced:
        nodes[group] = _without_foreign(group, nodes.get(group), overrides)
    faults += _hand_out_short_names(nodes, overrides, allow)
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
    here = {name for name, group in OWNERS.items() if name in _arguments_of(group, nodes.get(group), allow)}
    faults += _unread_keys(config, nodes, here, choices, overrides, replaced)
    if faults:
        raise ConfigError(faults)
    return parts, resolved


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


def _hand_out_short_names(nodes: dict[str, Any], overrides: Sequence[str], allow: Sequence[str]) -> list[str]:
    """Move each short name from the top into the node whose class takes it.

    One that was typed with its group (``model.width=8``) wins over one at the top that was not typed; both typed are a
    fault, since one would be passed over in silence.
    """
    typed = {override.partition("=")[0] for override in overrides}
    faults: list[str] = []
    for name in [name for name in nodes if name in OWNERS]:
        group = OWNERS[name]
        node = nodes.get(group)
        if name not in _arguments_of(group, node, allow):
            continue
        value = nodes.pop(name)
        if f"{group}.{name}" not in typed:
            nodes[group] = {**(node or {}), name: value}
        elif name in typed:
            faults.append(f"{name}={value}: nothing reads it; set {group}.{name} alone")
    return faults


def _arguments_of(group: str, node: Any, allow: Sequence[str]) -> set[str]:
    """The keys that a node's class takes; none where it names no class, about which `describe` has more to say."""
    if group in CALLS:
        return set(map(config_key, config_parameters(CALLS[group])))
    try:
        target = locate(str(node[TARGET]), key=group, room=ROOMS[group], allow=allow)
    except (ConfigError, KeyError, TypeError):
        return set()
    return set(map(config_key, config_parameters(target)))


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
    options = constructors(ROOMS[group])
    if not isinstance(node, Mapping) or str(node.get(TARGET)).rpartition(".")[2] not in options:
        return node
    keys = {name: set(map(config_key, option.parameters)) for name, option in options.items()}
    own = keys[str(node[TARGET]).rpartition(".")[2]]
    typed = {override.partition("=")[0] for override in overrides}
    foreign = set().union(*keys.values()) - own - {key.removeprefix(f"{group}.") for key in typed}
    return {name: value for name, value in node.items() if name not in foreign}


def _describe_group(group: str, nodes: Mapping[str, Any], allow: Sequence[str]) -> Description:
    if group not in nodes:
        raise ConfigError([f"{group}: cannot be taken away; choose one with {group}=NAME"])
    if group in CALLS and not isinstance(nodes[group] or {}, Mapping):
        raise ConfigError([f"{group}={nodes[group]}: a mapping is needed"])
    if allow:  # a module of the user's may be another one the next time
        return _describe_node(group, nodes[group], allow)
    return _described_once(group, json.dumps(nodes[group]))


@functools.lru_cache(maxsize=1024)
def _described_once(group: str, node: str) -> Description:
    """By the node as JSON: cells of a sweep share most of theirs."""
    return _describe_node(group, json.loads(node), ())


def _describe_node(group: str, node: Any, allow: Sequence[str]) -> Description:
    if group in ROOMS:
        return describe(node, key=group, room=ROOMS[group], allow=allow)
    return describe_call(CALLS[group], node or {}, key=group, allow=allow)


def _unread_keys(
    config: DictConfig,
    nodes: Mapping[str, Any],
    short_names: set[str],
    choices: Mapping[str, str],
    overrides: Sequence[str],
    replaced: Sequence[str],
) -> list[str]:
    """Faults of the top-level keys that nothing reads: no setting, group or short name, nor named by an interpolation.

    An experiment's short name of an option that was replaced (``lambda`` under ``penalty=none``) goes with it, unless
    it was typed.
    """
    groups = (*ROOMS, *CALLS)
    read = {*SETTINGS, *groups, *OF_A_SWEEP}
    if not nodes.keys() <= read:
        read |= {*INTERPOLATION.findall(str(OmegaConf.to_container(config)))}
    typed = {override.partition("=")[0] for override in overrides}
    keys = {name: group for group in groups if isinstance(nodes.get(group), Mapping) for name in nodes[group]}
    known = sorted(read | short_names | set(OPTIONAL_GROUPS))
    faults: list[str] = []
    for name, value in nodes.items():
        left_behind = OWNERS.get(name) in replaced and name not in typed
        if name in read or left_behind or (name in keys and name not in typed and name not in OWNERS):
            continue
        if name in OPTIONAL_GROUPS:  # what a file of theirs says must lie at the top
            faults.append(f"{name}={choices.get(name, '...')}: the first line of its file must be # @package _global_")
        elif name in keys:
            faults.append(f"{name}={value}: nothing reads it; set {keys[name]}.{name} alone")
        else:
            fault = unknown(name, value, known)
            meant = fault.partition("Did you mean ")[2].partition("?")[0]
            model = choices.get("model", "the model")
            faults.append(fault.replace("there is no key", f"{model} has no") if meant in {"", *OWNERS} else fault)
    return faults
