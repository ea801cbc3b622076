"""Does a net hold elsewhere: on corrupted test pictures, and on CIFAR-10.1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifarlab.data.images import ImageSet
from cifarlab.evaluation.calibration import measures
from cifarlab.evaluation.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from cifarlab.job.configure import ConfigError
from cifarlab.job.trained import Trained
from cifarlab.training.step.arithmetic import right_within

# The authors' own files, by data set: https://zenodo.org/records/2535967 and https://zenodo.org/records/3555552.
PUBLISHED = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
# https://github.com/modestyachts/CIFAR-10.1: version 6 has 2,000 pictures, 200 a class; version 4 has 2,021.
CIFAR101 = ("cifar10.1_v6", "cifar10.1_v4")


class Row(NamedTuple):
    """One corruption at one strength. ``source`` says whose pictures: ``published`` by the authors, or ``ours``."""

    corruption: str
    strength: int
    source: str
    acc: float
    nll: float
    ece: float
    ece_scaled: float | None


class Corrupted(NamedTuple):
    """What is left of a net's accuracy.

    Attributes:
        clean: accuracy on the test split as it is.
        rows: a row a corruption and strength, in the paper's order.
    """

    clean: float
    rows: list[Row]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """``(15, 5)``: corruptions, strengths."""
        return np.array([row.acc for row in self.rows]).reshape(-1, len(STRENGTHS))

    @property
    def sources(self) -> list[str]:
        """Whose pictures, of each corruption."""
        return [row.source for row in self.rows[:: len(STRENGTHS)]]

    @property
    def mean_error(self) -> float:
        """The mean over corruptions of the mean error over strengths, not divided by another net's, as is usual for
        CIFAR (Hendrycks et al. 2020, "AugMix", section 4.1)."""
        return float(1 - self.accuracy.mean())

    def metrics(self) -> dict[str, float]:
        """For `evaluation.json` and the table of a sweep."""
        found = {"test/mce": self.mean_error}
        for name in ("nll", "ece", "ece_scaled"):
            values = [getattr(row, name) for row in self.rows]
            if None not in values:
                found[f"test/{name}_corrupted"] = float(np.mean(values))
        return found


def on_corruptions(
    trained: Trained,
    *,
    clean: float,
    temperature: float | None,
    seed: int,
    watch: Callable[[list[str]], Iterable[str]] = iter,
) -> Corrupted:
    """Test a net on the fifteen corruptions at five strengths.

    The published files are read where they lie under the data sets' folder, one by one; what is not there is computed
    from the test split.

    Args:
        trained: the net.
        clean: its accuracy on the test split.
        temperature: fitted on validation, if there is one.
        seed: of what is drawn.
        watch: hands on the names, for a progress bar.

    Raises:
        ConfigError: a published file is damaged, or not of this test split.
    """
    test = trained.data.split("test")
    labels = test.labels.cpu()
    rows = []
    for name in watch(list(CORRUPTIONS)):
        theirs = _published(trained, name)
        for strength in STRENGTHS:
            pictures = theirs(strength) if theirs else corrupted(test.images, name, strength, seed=seed)
            logits, _ = trained.logits(trained.data.pass_over(ImageSet(pictures, labels, test.classes)))
            found = measures(logits, labels)
            scaled = None if temperature is None else measures(logits, labels, temperature)["ece"]
            accuracy = right_within(logits, labels).double().mean().item()
            source = "ours" if theirs is None else "published"
            rows.append(Row(name, strength, source, accuracy, found["nll"], found["ece"], scaled))
    return Corrupted(clean, rows)


def _published(trained: Trained, name: str) -> Callable[[int], Tensor] | None:
    """Strength -> the authors' pictures of the test split, uint8 ``(N, 3, 32, 32)``; None where they are not there."""
    data = trained.data
    folder = data.root / PUBLISHED.get(str(data.name), "")
    if folder == data.root or not (folder / f"{name}.npy").is_file():
        return None
    sets = data.source.load(data.root)
    count = len(sets["test"])
    pictures = _array(folder / f"{name}.npy", np.uint8, (len(STRENGTHS) * count, *data.image_size, 3))
    labels = _array(folder / "labels.npy", None, (len(STRENGTHS) * count,))
    if not np.array_equal(labels[:count], sets["test"].labels.numpy()):
        raise ConfigError([f"{folder / 'labels.npy'}: not the labels of {data.name}'s test split"])
    _, chosen = data.rule.positions(sets)["test"]

    def of(strength: int) -> Tensor:
        part = pictures[(strength - 1) * count : strength * count][chosen.numpy()]
        return torch.from_numpy(part).permute(0, 3, 1, 2)

    return of


def on_cifar101(trained: Trained) -> dict[str, float]:
    """Accuracy and calibration on CIFAR-10.1 (Recht et al. 2018, arXiv 1806.00451), read under the data sets' folder.

    Raises:
        ConfigError: the run is of another data set, or the files are not there or damaged.
    """
    data = trained.data
    if data.name != "cifar10":
        raise ConfigError([f"shift=cifar10.1: the run is of data={data.name}; allowed: runs of data=cifar10"])
    folders = (data.root / "CIFAR-10.1", data.root / "CIFAR-10.1" / "datasets", data.root)
    places = [folder / version for version in CIFAR101 for folder in folders]
    found = next((place for place in places if place.with_name(f"{place.name}_data.npy").is_file()), None)
    if found is None:
        raise ConfigError(
            [
                f"shift=cifar10.1: put {CIFAR101[0]}_data.npy and {CIFAR101[0]}_labels.npy into {folders[0]}; "
                "they are in github.com/modestyachts/CIFAR-10.1, folder datasets"
            ]
        )
    labels = torch.from_numpy(np.array(_array(found.with_name(f"{found.name}_labels.npy"), None, None))).long()
    shape = (len(labels), *data.image_size, 3)
    pictures = torch.from_numpy(np.array(_array(found.with_name(f"{found.name}_data.npy"), np.uint8, shape)))
    if labels.ndim != 1 or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) < data.num_classes:
        raise ConfigError([f"{found}_labels.npy: labels from 0 to {data.num_classes - 1} are needed, one a picture"])
    images = ImageSet(pictures.permute(0, 3, 1, 2), labels, data.classes)
    logits, labels = trained.logits(data.pass_over(images))
    accuracy = right_within(logits, labels).double().mean().item()
    names = {"acc": accuracy, **measures(logits, labels)}
    return {f"test/{name}_cifar10.1": value for name, value in names.items()}


def _array(path: Path, dtype: Any, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """An array as a memory map; of pickled objects it is none.

    Raises:
        ConfigError: it is not there, or no array of this type and shape.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError([f"{path}: no array that could be read ({str(error).splitlines()[0]})"]) from None
    right_type = np.issubdtype(array.dtype, np.integer) if dtype is None else array.dtype == dtype
    if not right_type or (shape is not None and array.shape != shape):
        wanted = f"{np.dtype(dtype) if dtype is not None else 'integers'} of shape {shape}"
        raise ConfigError([f"{path}: {array.dtype} of shape {array.shape}; {wanted} is needed"])
    return array
