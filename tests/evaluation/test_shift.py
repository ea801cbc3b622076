"""The published files where they lie, ours where they do not; CIFAR-10.1."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from cifarlab.data.augment import Augment
from cifarlab.data.images import ImageSet
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.data.sources import Source
from cifarlab.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from cifarlab.evaluation.shift import on_cifar101, on_corruptions
from cifarlab.job.configure import ConfigError

LABELS = torch.arange(40) % 10


class Small(Source):
    """Forty grey pictures a split; the first pixel of a test picture tells its class."""

    name: ClassVar[str] = "cifar10"
    mean: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.0)
    std: ClassVar[tuple[float, float, float]] = (1.0, 1.0, 1.0)

    def read(self, root: Path) -> dict[str, ImageSet]:
        images = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
        images[:, :, 0, 0] = (20 * LABELS)[:, None].to(torch.uint8)
        classes = tuple("abcdefghij")
        return {split: ImageSet(images, LABELS, classes) for split in ("train", "test")}

    def load(self, root: Path) -> dict[str, ImageSet]:
        return self.read(root)


def stand_in(root: Path, **options: Any) -> Any:
    """A net that reads the first pixel, where `Trained` would be."""
    data = ImageData(Augment(), Seeds.same(0), source=Small(), root=str(root), val_fraction=0, **options)

    def logits(batches: Any) -> tuple[Tensor, Tensor]:
        images, labels = (torch.cat(column) for column in zip(*batches, strict=True))
        said = (images[:, 0, 0, 0] * 255 / 20).round().long().clamp(0, 9)
        return 5.0 * torch.nn.functional.one_hot(said, 10), labels

    return SimpleNamespace(data=data, logits=logits)


def write_published(root: Path, *, wrong_at: int) -> None:
    """Fog as its authors might have made it: pictures are as they were but at one strength, where all are black."""
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    clean = Small().read(root)["test"].images.permute(0, 2, 3, 1).numpy()
    parts = [np.zeros_like(clean) if strength == wrong_at else clean for strength in STRENGTHS]
    np.save(folder / "fog.npy", np.concatenate(parts))
    np.save(folder / "labels.npy", np.tile(LABELS.numpy().astype(np.uint8), 5))


def test_published_files_are_read_and_the_others_computed(tmp_path: Path) -> None:
    write_published(tmp_path, wrong_at=3)
    found = on_corruptions(stand_in(tmp_path), clean=1.0, temperature=None, seed=0)
    assert dict(zip(CORRUPTIONS, found.sources, strict=True))["fog"] == "published"
    assert found.sources.count("ours") == 14
    fog = found.accuracy[list(CORRUPTIONS).index("fog")]
    np.testing.assert_allclose(fog, [1, 1, 0.1, 1, 1])
    assert found.mean_error == pytest.approx(1 - np.mean([row.acc for row in found.rows]))
    assert found.metrics()["test/mce"] == found.mean_error
    assert "test/ece_scaled_corrupted" not in found.metrics()
    # A pixel that only brightness moves is read wrong as far as it is moved.
    brightness = found.accuracy[list(CORRUPTIONS).index("brightness")]
    assert brightness.max() < 0.5


def test_published_pictures_are_those_of_the_run_s_own_test_split(tmp_path: Path) -> None:
    write_published(tmp_path, wrong_at=2)
    found = on_corruptions(stand_in(tmp_path, limit=10), clean=1.0, temperature=2.0, seed=0)
    np.testing.assert_allclose(found.accuracy[9], [1, 0.1, 1, 1, 1])
    assert found.metrics()["test/ece_scaled_corrupted"] > 0


def test_damaged_published_files_are_named(tmp_path: Path) -> None:
    write_published(tmp_path, wrong_at=3)
    path = tmp_path / "CIFAR-10-C" / "fog.npy"
    trained, whole = stand_in(tmp_path), path.read_bytes()
    for content in (whole[:1000], b"no array", b""):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"fog\.npy: no array that could be read"):
            on_corruptions(trained, clean=1.0, temperature=None, seed=0)
    np.save(path, np.array([{"pickled": 1}]), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"fog\.npy: no array that could be read"):
        on_corruptions(trained, clean=1.0, temperature=None, seed=0)
    np.save(path, np.zeros((10, 32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"shape \(200, 32, 32, 3\) is needed"):
        on_corruptions(trained, clean=1.0, temperature=None, seed=0)
    path.write_bytes(whole)
    np.save(path.with_name("labels.npy"), np.zeros(200, np.uint8))
    with pytest.raises(ConfigError, match="not the labels of cifar10's test split"):
        on_corruptions(trained, clean=1.0, temperature=None, seed=0)


def test_cifar101_is_read_where_it_lies(tmp_path: Path) -> None:
    trained = stand_in(tmp_path)
    with pytest.raises(ConfigError, match=r"put cifar10\.1_v6_data\.npy and cifar10\.1_v6_labels\.npy into"):
        on_cifar101(trained)
    folder = tmp_path / "CIFAR-10.1"
    folder.mkdir()
    pictures = Small().read(tmp_path)["test"].images.permute(0, 2, 3, 1).numpy()[:20]
    np.save(folder / "cifar10.1_v4_data.npy", pictures)
    np.save(folder / "cifar10.1_v4_labels.npy", np.concatenate([LABELS[:15].numpy(), [0] * 5]))
    found = on_cifar101(trained)
    assert found["test/acc_cifar10.1"] == pytest.approx(15 / 20)
    assert set(found) == {f"test/{name}_cifar10.1" for name in ("acc", "nll", "brier", "ece", "ece_width")}
    np.save(folder / "cifar10.1_v4_labels.npy", np.full(20, 10))
    with pytest.raises(ConfigError, match="labels from 0 to 9 are needed"):
        on_cifar101(trained)
