"""Whether a run can be: what its data, its net and the machine come to together, seen before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from cifarlab.data.batches import smallest_batch
from cifarlab.data.module import ImageData
from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.models.weights import without_weights
from cifarlab.training.finetune import head_of, norms_outside
from cifarlab.training.hardware.counts import Cost
from cifarlab.training.hardware.machine import refusals, rehearse
from cifarlab.training.hardware.memory import Need, available_bytes, may_not_fit, shortage
from cifarlab.training.hardware.trainer import TrainerSettings


@dataclass(frozen=True)
class Pictures:
    """What is known of a data set without reading a picture.

    Attributes:
        num_classes: of the data set.
        image_size: height and width in pixels.
        sizes: split -> number of pictures; those of train with the copies of the augmentation.
        has_own_val: the data set comes with a validation split.
    """

    num_classes: int
    image_size: tuple[int, int]
    sizes: dict[str, int]
    has_own_val: bool

    @classmethod
    def of(cls, data: ImageData) -> Pictures:
        """Of a data set that is there.

        Raises:
            ValueError: its splits cannot be made as they are asked for, or an operation of the user's own does not do
                what the augmentation asks of it.
        """
        sets = data.source.load(data.root)
        sizes = {name: len(chosen) for name, (_, chosen) in data.rule.positions(sets).items()}
        sizes["train"] *= data.augment.copies
        data.augment.try_out(sets["train"].image_size)
        return cls(sets["train"].num_classes, sets["train"].image_size, sizes, "val" in sets)


def check_machine(job: Job, *, may_use: bool = True) -> None:
    """Refuse what this machine cannot do.

    Args:
        job: that is to run here.
        may_use: make a Trainer to see whether one can be made, which wakes up a GPU for this process.

    Raises:
        ConfigError: naming each key, its value and what is allowed here.
    """
    settings: TrainerSettings = job.parts["trainer"]()
    if faults := refusals(settings):
        raise ConfigError(faults)
    if may_use:
        rehearse(settings)


def refuse_what_needs_validation(job: Job, pictures: Pictures) -> None:
    """Without a validation split nothing can be told from its loss.

    Raises:
        ConfigError: the run stops, or lowers its rate, by it.
    """
    if "val" in pictures.sizes:
        return
    hint = "there is no validation split; set data.val_fraction above 0"
    if job.settings.early_stopping is not None:
        raise ConfigError([f"early_stopping={job.settings.early_stopping}: {hint}"])
    monitor = str(job.parts["schedule"].arguments.get("monitor"))
    if monitor.startswith("val/"):
        raise ConfigError([f"schedule.monitor={monitor}: {hint}, or schedule.monitor=train/loss"])


def refuse_what_splits_pass_over(job: Job, pictures: Pictures) -> None:
    """A share of train that was typed, where something else says what val is.

    Raises:
        ConfigError: it would be passed over.
    """
    typed = [override for override in job.overrides if override.startswith("data.val_fraction=")]
    data = job.parts["data"].arguments
    rules = [f"data.{key}={data[key]}" for key in ("fold", "protocol") if data.get(key) not in (None, "standard")]
    if pictures.has_own_val and data.get("train_on") == "train":
        rules.append(f"the own validation split of data={job.choices.get('data', 'this set')}")
    if typed and rules:
        raise ConfigError([f"{typed[-1]}: nothing reads it beside {rules[0]}; leave it out"])


def smallest_training_batch(job: Job, pictures: Pictures) -> int:
    """Pictures of the smallest batch that a device is given in an epoch.

    Raises:
        ValueError: the devices cannot share a batch evenly, or one of them gets none.
    """
    data, trainer = job.make_data(), job.parts["trainer"].arguments
    devices = trainer["devices"] * trainer["num_nodes"]
    each = data.per_device(devices)
    for split, size in pictures.sizes.items():
        if size < devices:
            raise ConfigError([f"trainer.devices={trainer['devices']}: more than the {size} pictures of {split}"])
    size = pictures.sizes["train"]
    smallest = smallest_batch(size, each, devices, drop_last=data.drop_last)
    if smallest == 0:
        raise ConfigError(
            [
                f"data.drop_last=true: batch_size={data.batch_size} is more than the {size} training pictures, which "
                f"leaves no batch; allowed: data.drop_last=false, or a batch_size of at most {size}"
            ]
        )
    return smallest


def refuse_more_batches_than_an_epoch_has(job: Job, pictures: Pictures) -> None:
    """A step takes so many batches at the most as an epoch has: each ends with one.

    Raises:
        ConfigError: more are to be summed; ``debug=fast`` may cut any run so short.
    """
    data, summed = job.make_data(), job.parts["trainer"].arguments["accumulate_batches"]
    size = pictures.sizes["train"]
    batches = size // data.batch_size if data.drop_last else math.ceil(size / data.batch_size)
    if 1 < summed > max(1, batches) and job.choices.get("debug") != "fast":
        raise ConfigError(
            [
                f"trainer.accumulate_batches={summed}: an epoch of {size} pictures has {batches} batches of "
                f"{data.batch_size}, and ends with a step; allowed: at most {max(1, batches)}"
            ]
        )


def refuse_batch_of_one(job: Job, pictures: Pictures) -> None:
    """Train on one picture on the meta device: a batch norm that is left with one number a channel refuses.

    Raises:
        ConfigError: there is such a batch norm.
    """
    with torch.device("meta"), without_weights():
        net = job.parts["model"](pictures.num_classes).train()
        picture = torch.empty(1, 3, *pictures.image_size)
    if job.settings.finetune is not None and job.settings.finetune.keep_statistics:
        for norm in norms_outside(head_of(net), net):
            norm.eval()
    try:
        with torch.no_grad():
            net(picture)
    except ValueError as error:
        size, batch_size = pictures.sizes["train"], job.parts["data"].arguments["batch_size"]
        way_out = "data.drop_last=true, or another batch_size" if batch_size > 1 else "a batch_size from 2"
        raise ConfigError(
            [
                f"batch_size={batch_size}: of {size} training pictures one is left to be a batch of its own, on which "
                f"the net cannot train ({str(error).partition(', got')[0]}); allowed: {way_out}"
            ]
        ) from None


def refuse_what_cannot_fit(job: Job, pictures: Pictures, cost: Cost, count: Callable[[], Need]) -> None:
    """Compare what a training step needs at the least with the memory that is free.

    Args:
        job: that is to run here.
        pictures: that it trains on.
        cost: of its net.
        count: `need` of its net and optimizer, which takes up to a second and is asked for only where it may matter.

    Raises:
        ConfigError: with the sizes, and what could fit.
    """
    settings: TrainerSettings = job.parts["trainer"]()
    available = available_bytes(settings)
    data = job.parts["data"].arguments
    batch = min(data["batch_size"], pictures.sizes["train"]) // (settings.devices * settings.num_nodes)
    if available is None or not may_not_fit(cost, batch, available):
        return
    if fault := shortage(count(), settings, pictures=batch, available=available):
        model = job.choices.get("model", "this net")
        raise ConfigError([f"model={model} batch_size={data['batch_size']}: {fault}"])
