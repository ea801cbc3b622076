"""A run that goes on from a finished one: its parent's configuration, with what was typed changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen, stored_result
from cifarlab.job.job import Job
from cifarlab.job.nodes import CALLS, OF_A_SWEEP, ROOMS
from cifarlab.result import Status
from cifarlab.training.recipe import Parent

# Other configurations than the parent's, whole.
REPLACING = ("experiment", "recipe", "debug")
# What of the data may differ from the parent's: neither who is validated and tested, nor what a net is shown of them.
OF_TRAINING = ("root", "batch_size", "eval_batch_size", "drop_last", "label_noise", "imbalance", "per_class")


def continued(config: DictConfig, *, choices: Mapping[str, str], overrides: Sequence[str], allow: Sequence[str]) -> Job:
    """The job of a config with ``continue_from``.

    Args:
        config: as composed; of it counts what was typed, and what a sweep reads.
        choices: group -> chosen option.
        overrides: what was typed.
        allow: import paths outside this package that nodes may name.

    Raises:
        ConfigError: the parent cannot be gone on from, or not so.
    """
    directory = Path(str(config.continue_from)).expanduser().resolve()
    typed = dict(override.partition("=")[::2] for override in overrides)
    if replacing := [f"{key}={typed[key]}" for key in REPLACING if key in typed]:
        given = " ".join(replacing)
        raise ConfigError([f"{given}: with continue_from= a run has its parent's configuration; set single keys"])
    parent = reopen(directory, allow=allow)
    done = _epochs(parent, directory)
    changed = OmegaConf.create({key: value for key, value in parent.config.items() if key not in OF_A_SWEEP})
    for key in [*(key for key in typed if key in (*ROOMS, *CALLS)), *(key for key in OF_A_SWEEP if key in config)]:
        changed[key] = _plain(config[key])
    for key in typed.keys() - {*ROOMS, *CALLS, *OF_A_SWEEP}:
        OmegaConf.update(changed, key, _plain(OmegaConf.select(config, key)), merge=False, force_add=True)
    if typed.get("epochs", "").startswith("+"):
        changed.epochs = done + int(config.epochs)
    changed.continue_from, changed.parent = str(directory), f"{parent.identity.key}/{parent.identity.group}"
    chosen = {**parent.choices, **{group: option for group, option in choices.items() if group in typed}}
    job = Job.read(changed, choices=chosen, overrides=overrides, allow=allow)
    faults = _faults(job, parent, done)
    if faults:
        raise ConfigError([f"{fault} (continue_from={directory})" for fault in faults])
    return job


def _epochs(parent: Job, directory: Path) -> int:
    """How many the parent has."""
    result = stored_result(directory)
    if result is None or result.status != Status.FINISHED:
        status = "has no result yet" if result is None else f"is {result.status}"
        raise ConfigError(
            [f"continue_from={directory}: it {status}; a finished run is needed, resume= goes on with others"]
        )
    from cifarlab.training.records.checkpoints import LAST
    from cifarlab.training.records.inheritance import parents_checkpoint

    last = parents_checkpoint(Parent(parent.identity.key, directory), LAST, mmap=True)
    return int(last["epoch"]) + 1


def _faults(job: Job, parent: Job, done: int) -> list[str]:
    """What cannot be changed on the way."""
    faults: list[str] = []
    if job.settings.epochs <= done:
        faults.append(
            f"epochs={job.settings.epochs}: the parent has {done} epochs already; allowed: more than that in all, or "
            "epochs=+N for N more (in a sweep, all)"
        )
    if job.settings.finetune is not None:
        faults.append(
            "finetune: a run in two phases cannot be gone on from as one; set finetune=null to train all of it"
        )
    ours, theirs = (each.parts["data"].plain() for each in (job, parent))
    faults += [
        f"data.{key}={value}: the parent has {theirs[key]}; another choice of validation and test pictures, or of how "
        "they are shown, would not be comparable"
        for key, value in ours.items()
        if key not in OF_TRAINING and value != theirs[key]
    ]
    if job.parts["optimizer"].target is not parent.parts["optimizer"].target:
        faults.append(
            "optimizer: the parent's momenta are another optimizer's; keep it, and change its lr and the like"
        )
    return faults


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
