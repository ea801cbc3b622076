from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from cifarlab.data.digits import Digits

ROOT = Path("does not exist")


def test_all_scans_are_there_once_with_their_labels():
    sets = Digits().load(ROOT)
    assert {name: len(part) for name, part in sets.items()} == {"train": 1438, "test": 359}
    assert not ROOT.exists()
    counts = sum(part.labels.bincount(minlength=10) for part in sets.values())
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    rows = torch.cat([part.images.flatten(1) for part in sets.values()])
    assert len(rows.unique(dim=0)) == len({scan.tobytes() for scan in load_digits().images})


def test_the_test_split_is_a_fifth_of_each_class_and_always_the_same():
    first, second = Digits().load(ROOT), Digits().load(ROOT)
    for whole, part in zip(load_digits().target_names, first["test"].labels.bincount().tolist(), strict=True):
        assert abs(part - 0.2 * (load_digits().target == whole).sum()) <= 1
    assert torch.equal(first["test"].images, second["test"].images)
    assert first["test"].labels[:12].tolist() == [2, 2, 0, 8, 7, 8, 3, 4, 0, 2, 1, 3]


def test_a_scan_is_enlarged_as_pillow_does_it():
    scans = load_digits()
    large = [
        Image.fromarray(scan.astype("float32")).resize((32, 32), Image.Resampling.BILINEAR) for scan in scans.images
    ]
    wanted = torch.from_numpy(np.stack(large)) / 16 * 255
    train = Digits().load(ROOT)["train"]
    assert train.images.shape == (1438, 3, 32, 32)
    assert train.images.dtype == torch.uint8
    for picture, label in zip(train.images[:50].float(), train.labels[:50].tolist(), strict=True):
        assert torch.equal(picture[0], picture[1])
        assert torch.equal(picture[0], picture[2])
        nearest = (wanted - picture[0]).abs().amax((1, 2)).min(0)
        assert nearest.values <= 0.51  # half a grey level of rounding
        assert scans.target[nearest.indices] == label


def test_mean_and_deviation_are_those_of_the_train_split():
    pixels = Digits().load(ROOT)["train"].images.double() / 255
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx(Digits.mean, abs=6e-5)
    assert pixels.std((0, 2, 3)).tolist() == pytest.approx(Digits.std, abs=6e-5)
