import io
import os
import shutil
import tarfile
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifarlab.data import packing
from cifarlab.data.cinic import CINIC10
from cifarlab.data.download import Archive
from cifarlab.data.sources import MissingData

CLASSES = ("airplane", "cat", "truck")
NAMES = ("cifar10-test-7.png", "cifar10-train-12.png", "n02084071_1.png")


def write_tree(tree):
    """3 pictures a class and split; returns them by path."""
    generator = np.random.default_rng(0)
    pictures = {}
    for folder in ("train", "valid", "test"):
        for name in CLASSES:
            (tree / folder / name).mkdir(parents=True)
            for file in NAMES:
                path = tree / folder / name / file
                pictures[path.relative_to(tree)] = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pictures[path.relative_to(tree)]).save(path)
    return pictures


@pytest.mark.parametrize("place", ["CINIC-10", "CINIC-10/CINIC-10", "."])
def test_a_tree_is_packed_in_the_order_of_class_and_name(tmp_path, place):
    pictures = write_tree(tmp_path / place)
    sets = CINIC10().load(tmp_path)
    assert sets.keys() == {"train", "val", "test"}
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        wanted = np.stack([pictures[Path(folder, name, file)] for name in CLASSES for file in NAMES])
        assert np.array_equal(sets[split].images.permute(0, 2, 3, 1).numpy(), wanted)
        assert sets[split].labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert sets[split].extra["origin"].tolist() == [0, 0, 1] * 3
        assert sets[split].classes == CLASSES


def test_many_pictures_are_decoded_by_processes_to_the_same_end(tmp_path, monkeypatch):
    write_tree(tmp_path)
    threads = CINIC10().read(tmp_path)
    monkeypatch.setattr(packing, "WORTH_PROCESSES", 1)
    monkeypatch.setattr(packing, "HANDFUL", 4)
    processes = CINIC10().read(tmp_path)
    for split in ("train", "val", "test"):
        assert torch.equal(threads[split].images, processes[split].images)
        assert torch.equal(threads[split].labels, processes[split].labels)


def test_a_grey_picture_gets_three_equal_channels(tmp_path):
    write_tree(tmp_path)
    grey = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "train" / "cat" / "a.png")
    picture = CINIC10().load(tmp_path)["train"].images[3]
    assert np.array_equal(picture.numpy(), np.stack([grey] * 3))


def test_a_tree_that_changed_is_packed_again_and_one_that_is_gone_is_not_missed(tmp_path):
    write_tree(tmp_path / "CINIC-10")
    assert len(CINIC10().load(tmp_path)["train"]) == 9
    written = (tmp_path / "cinic10-v1.pt").stat().st_mtime_ns
    CINIC10().prepare(tmp_path)
    assert (tmp_path / "cinic10-v1.pt").stat().st_mtime_ns == written
    (tmp_path / "CINIC-10" / "train" / "cat" / NAMES[0]).unlink()
    assert len(CINIC10().load(tmp_path)["train"]) == 8
    shutil.rmtree(tmp_path / "CINIC-10")
    assert len(CINIC10().load(tmp_path)["train"]) == 8


def test_faults_of_a_tree_are_named(tmp_path):
    write_tree(tmp_path)
    wrong = tmp_path / "valid" / "cat" / "a.png"
    wrong.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"valid/cat/a.png is no PNG picture"):
        CINIC10().prepare(tmp_path)
    Image.new("RGB", (32, 31)).save(wrong)
    with pytest.raises(ValueError, match=r"valid/cat/a.png is \(31, 32\) pixels, .* is \(32, 32\)"):
        CINIC10().prepare(tmp_path)
    wrong.unlink()
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(ValueError, match="train and test have not the same classes, they differ by dog"):
        CINIC10().prepare(tmp_path)


def test_a_missing_tree_is_fetched(tmp_path, mirror):
    write_tree(tmp_path / "made")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "made", ".")
    mirror.content = buffer.getvalue()
    archive = Archive("c.tar.gz", md5(mirror.content).hexdigest(), len(mirror.content), 1000, (mirror.url("good"),))
    source = type("Tiny", (CINIC10,), {"archive": archive})()
    assert len(source.load(tmp_path / "new")["val"]) == 9
    assert (tmp_path / "new" / "CINIC-10" / "valid" / "cat" / NAMES[0]).is_file()


def test_the_error_names_the_tree_the_archive_and_the_way_on(tmp_path):
    archive = Archive("CINIC-10.tar.gz", "0" * 32, 1000, 1000, ("http://127.0.0.1:9/download",))
    with pytest.raises(MissingData) as error:
        type("Tiny", (CINIC10,), {"archive": archive})().prepare(tmp_path)
    for part in (str(tmp_path / "CINIC-10"), "{train,valid,test}/CLASS/NAME.png", "0" * 32, "data=digits"):
        assert part in str(error.value)


@pytest.mark.realdata
def test_the_sample_has_its_counts_and_its_cifar_pictures_are_cifars(tmp_path):
    root = Path(os.environ.get("CIFARLAB_DATA", "data"))
    sample = next(
        (path for path in (root / "cinic10-sample", root / "cinic" / "cinic10-sample") if path.is_dir()), None
    )
    if sample is None:
        pytest.skip("cinic10-sample is not under CIFARLAB_DATA")
    (tmp_path / "CINIC-10").symlink_to(sample.absolute())
    sets = CINIC10().load(tmp_path)
    counts = {name: part.labels.bincount().tolist() for name, part in sets.items()}
    assert counts == {"train": [100] * 10, "val": [50] * 10, "test": [50] * 10}
    assert sum(int((part.extra["origin"] == 0).sum()) for part in sets.values()) == 468
    if not (root / "cifar-10-batches-py").is_dir():
        pytest.skip("CIFAR-10 is not under CIFARLAB_DATA")
    from cifarlab.data.cifar import CIFAR10

    (tmp_path / "cifar-10-batches-py").symlink_to((root / "cifar-10-batches-py").absolute())
    cifar = CIFAR10().load(tmp_path)["train"]
    train = sets["train"]
    names = [path.name for name in train.classes for path in sorted((sample / "train" / name).glob("*.png"))]
    chosen = [i for i, name in enumerate(names) if name.startswith("cifar10-train-")]
    indices = torch.tensor([int(names[i].removeprefix("cifar10-train-").removesuffix(".png")) for i in chosen])
    assert train.labels[chosen].tolist() == cifar.labels[indices].tolist()
    difference = (train.images[chosen].int() - cifar.images[indices].int()).abs().float().mean((1, 2, 3))
    assert difference.max() == 0
