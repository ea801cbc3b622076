"""A job in its run directory: written before the run begins, read when the directory is opened again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.job.yaml_file import read_yaml
from cifarlab.reading import refuse_what_leads_out, visible
from cifarlab.result import Result, write_text

FOLDER = ".hydra"
CONFIG, HYDRA, OVERRIDES, IDENTITY = "config.yaml", "hydra.yaml", "overrides.yaml", "identity.yaml"

DIGITS = re.compile("[0-9a-f]{16}")
RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)
OF_EARLIER_VERSIONS = "${oc.env:CIFARLAB_DATA,data}"  # theirs was written as composed


def write_job(job: Job, directory: Path) -> None:
    """Write ``.hydra/``: all that a process here or on another machine needs to execute the job.

    The config is written as it was resolved, so that neither another environment nor a changed file of ``conf/`` makes
    another run of it.

    Args:
        directory: of the run; made if need be.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    key, group = job.identity.key, job.identity.group
    # In Hydra's own layout, which is what directories of earlier versions have.
    hydra = {"runtime": {"choices": dict(job.choices)}, "overrides": {"task": list(job.overrides)}}
    search = {"search": job.beside["search"]} if job.beside.get("search") else {}  # for the pruner of its trial
    contents: dict[str, Any] = {
        OVERRIDES: list(job.overrides),
        HYDRA: {"hydra": hydra},
        IDENTITY: {"key": key, "group": group},
        CONFIG: {**job.config, **search},  # last: with it the directory is a run's
    }
    for name, content in contents.items():
        write_text(folder / name, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def reopen(directory: Path, *, allow: Sequence[str] = (), root: str | None = None) -> Job:
    """The job of a run directory, from its own ``.hydra/``.

    It goes by the key that the directory records, whatever today's code would make of the same configuration.

    Args:
        directory: of a single run or of a cell of a sweep.
        allow: import paths outside this package that its config may name. What the directory says of itself does not
            count: it may come from somebody else.
        root: where the data sets lie now; as the config has it unless given.

    Raises:
        ConfigError: it is no run directory, or its config cannot be run by this version.
    """
    if not is_run_directory(directory):
        raise ConfigError([f"{directory}: not a run directory (it has no {FOLDER}/{CONFIG})"])
    config = load_config(directory)
    _refuse_what_leads_out(directory)
    if root is not None:
        OmegaConf.update(config, "data.root", root, force_add=True)
    hydra_file = directory / FOLDER / HYDRA
    if not hydra_file.is_file():
        return Job.read(config, allow=allow)
    hydra = read_yaml(hydra_file).get("hydra")
    if not isinstance(hydra, DictConfig) or not {"runtime", "overrides"} <= hydra.keys():
        raise ConfigError([f"{hydra_file} is damaged: hydra.runtime and hydra.overrides are needed"])
    for part in ("runtime", "overrides"):  # what is read of it; in directories of earlier versions Hydra wrote the rest
        _refuse_resolvers(hydra.get(part), hydra_file)
    job = Job.read(config, choices=choices_of(hydra), overrides=typed(hydra), allow=allow)
    return replace(job, recorded=_recorded(directory))


def load_config(directory: Path) -> DictConfig:
    """A run directory's config.

    Raises:
        ConfigError: the file cannot be read, or holds no mapping.
    """
    path = directory / FOLDER / CONFIG
    config = read_yaml(path)
    _refuse_resolvers(config, path)
    return config


def _refuse_what_leads_out(directory: Path) -> None:
    try:
        refuse_what_leads_out(directory)
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _refuse_resolvers(node: Any, path: Path) -> None:
    """A directory may come from a stranger: nothing in it may ask for the environment, or for any other resolver.

    Raises:
        ConfigError: something does; the file and the key are named, and what would have been put there is not. Or a
            text has characters that are not seen.
    """
    asking: list[str] = []
    unseen: list[str] = []

    def look(value: object, key: str) -> None:
        if isinstance(value, str) and visible(value) != value:
            unseen.append(key)
        if isinstance(value, dict):
            for name, each in value.items():
                look(str(name), key)
                look(each, f"{key}.{name}" if key else str(name))
        elif isinstance(value, list):
            for number, each in enumerate(value):
                look(each, f"{key}.{number}")
        elif isinstance(value, str) and RESOLVER.search(value) and (key, value) != ("data.root", OF_EARLIER_VERSIONS):
            asking.append(key)

    look(OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node, "")
    faults = [f"{path}: {visible(key)} has characters that are not seen" for key in unseen]
    faults += [f"{path}: {visible(key)} asks for something outside of the file" for key in asking]
    if faults:
        raise ConfigError(faults)


def is_run_directory(directory: Path) -> bool:
    """Whether a run has begun there."""
    return (directory / FOLDER / CONFIG).is_file()


def is_half_written(folder: Path) -> bool:
    """Whether this is the ``.hydra/`` of a run that was killed while it wrote its job."""
    parts = (HYDRA, OVERRIDES, IDENTITY, *(f".{name}." for name in (CONFIG, HYDRA, OVERRIDES, IDENTITY)))
    return folder.name == FOLDER and folder.is_dir() and all(item.name.startswith(parts) for item in folder.iterdir())


def stored_result(directory: Path) -> Result | None:
    """The result of a run directory, None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return Result.read(directory)
    except FileNotFoundError:
        return None


def chosen_weights(directory: Path) -> dict[str, Any] | None:
    """`by` and `epoch` of a run's best weights; None where it has not ended, or its result is damaged."""
    try:
        result = stored_result(directory)
    except ValueError:
        return None
    return result.selected if result is not None else None


def choices_of(hydra: DictConfig) -> dict[str, str]:
    """Group -> chosen option, of the project's own groups; several options of a group are joined by ``+``."""
    chosen: dict[str, str] = {}
    for group, choice in hydra.runtime.choices.items():
        if choice is None or "/" in str(group):
            continue
        options = [choice] if isinstance(choice, str) else list(choice)
        chosen[str(group)] = "+".join(str(option) for option in options)
    return chosen


def typed(hydra: DictConfig) -> list[str]:
    """The overrides a run was started with, as they were typed."""
    return [str(override).lstrip("+") for override in hydra.overrides.task]


def _recorded(directory: Path) -> tuple[str, str] | None:
    """Key and group as the directory has them."""
    path = directory / FOLDER / IDENTITY
    if path.is_file():
        identity = read_yaml(path)
        _refuse_resolvers(identity, path)
        digits = [str(identity.get(name)) for name in ("key", "group")]
        if not all(map(DIGITS.fullmatch, digits)):
            raise ConfigError([f"{path} is damaged: key and group are needed, each of sixteen hexadecimal digits"])
        return digits[0], digits[1]
    stored = stored_result(directory)  # of an earlier version
    return None if stored is None else (stored.key, stored.group)
