"""A packed data set is believed only if it is the one that was packed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cifarlab.data import cache, tree
from cifarlab.data.cifar import CIFAR10
from cifarlab.data.cinic import CINIC10
from cifarlab.data.images import ImageSet
from cifarlab.data.sources import Source


def image_set(seed: int, count: int = 6, classes: int = 3) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(count) % classes, tuple("abc"[:classes]), {"origin": torch.arange(count)})


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / cache.file_name("mine")
    cache.write(path, cache.Packed({"train": image_set(0), "test": image_set(1)}, "state"))
    return path


def test_what_was_written_is_read(packed: Path) -> None:
    found = cache.read(packed)
    assert found is not None
    assert found.fingerprint == "state"
    assert torch.equal(found.sets["train"].images, image_set(0).images)
    assert torch.equal(found.sets["test"].extra["origin"], torch.arange(6))


def change(path: Path, how: Callable[[dict[str, Any]], None]) -> None:
    content = torch.load(path, weights_only=True)
    how(content)
    torch.save(content, path)


def one_pixel(content: dict[str, Any]) -> None:
    content["sets"]["test"]["images"][5, 2, 3, 3] ^= 1


def swapped_labels(content: dict[str, Any]) -> None:
    content["sets"]["train"]["labels"] = content["sets"]["train"]["labels"].flip(0)


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a pixel": one_pixel,
    "labels in another order": swapped_labels,
    "a label out of range": lambda content: content["sets"]["train"]["labels"].fill_(3),
    "a negative label": lambda content: content["sets"]["train"]["labels"].fill_(-1),
    "a missing split": lambda content: content["sets"].pop("test"),
    "fewer labels": lambda content: content["sets"]["train"].update(labels=torch.arange(3)),
    "an extra of another length": lambda content: content["sets"]["test"]["extra"].update(origin=torch.arange(2)),
    "pictures of another type": lambda content: content["sets"]["train"].update(images=torch.zeros(6, 3, 4, 4)),
    "grey pictures": lambda content: content["sets"]["train"].update(images=torch.zeros(6, 1, 4, 4).byte()),
    "no checksum": lambda content: content.pop("checksum"),
    "no name": lambda content: content.pop("name"),
    "no sets": lambda content: content.pop("sets"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_was_changed_is_packed_again(
    fault: Callable[[dict[str, Any]], None], packed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cache.read(packed) is not None
    change(packed, fault)
    assert cache.read(packed) is None
    assert f"{packed} is damaged and will be packed again" in caplog.text


def test_another_sets_file_under_this_name_is_not_taken(packed: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = packed.with_name(cache.file_name("other"))
    shutil.copy(packed, other)
    assert cache.read(other) is None
    assert f"it holds {packed.name}" in caplog.text


def test_a_torn_file_is_packed_again(packed: Path) -> None:
    content = packed.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        packed.write_bytes(content[:length])
        assert cache.read(packed) is None


class Own(Source):
    """A set of somebody's: the pixels of one file, whatever lies beside it."""

    name, mean, std = "own", (0.0,) * 3, (1.0,) * 3

    def read(self, root: Path) -> dict[str, ImageSet]:
        pixel = int((root / "deep" / "pixels.txt").read_text())
        images = torch.full((2, 3, 4, 4), pixel, dtype=torch.uint8)
        return {split: ImageSet(images, torch.tensor([0, 1]), ("a", "b")) for split in ("train", "test")}


def test_an_own_set_is_packed_again_when_a_file_of_it_has_other_content(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pixels.txt"
    path.parent.mkdir()
    path.write_text("10")
    about = path.stat()

    def pixel(source: Source) -> int:
        return int(source.load(tmp_path)["test"].images[0, 0, 0, 0])

    assert pixel(Own()) == 10
    packed = (tmp_path / "own-v1.pt").stat().st_ino
    for name in (".hidden", "other-v1.pt", "download.part"):  # none of them is of the originals
        (tmp_path / name).touch()
    os.utime(path, ns=(0, 0))
    assert (pixel(Own()), (tmp_path / "own-v1.pt").stat().st_ino) == (10, packed)
    path.write_text("20")  # of the same size ...
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # ... and time
    assert pixel(Own()) == 20
    narrow = type("Narrow", (Own,), {"name": "narrow", "originals": ("deep/*.txt",)})
    assert pixel(narrow()) == 20
    packed = (tmp_path / "narrow-v1.pt").stat().st_ino
    (tmp_path / "unrelated.txt").touch()
    assert (pixel(narrow()), (tmp_path / "narrow-v1.pt").stat().st_ino) == (20, packed)
    shutil.rmtree(path.parent)
    assert pixel(narrow()) == 20  # the originals are gone, and not missed


def test_files_that_are_too_large_to_be_read_each_time_go_by_their_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "CHEAP", 3)
    path = tmp_path / "a"
    path.write_text("1234")
    before = tree.state_of_files(tmp_path, ["**/*"])
    assert tree.state_of_files(tmp_path, ["a"]) == before
    about = path.stat()
    path.write_text("4321")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert tree.state_of_files(tmp_path, ["**/*"]) != before
    assert tree.state_of_files(tmp_path / "absent", ["**/*"]) == ""


def test_a_set_with_a_validation_split_is_believed_with_it_alone(tmp_path: Path) -> None:
    path = tmp_path / cache.file_name("mine")
    cache.write(path, cache.Packed({"train": image_set(0), "test": image_set(1)}, "state"))
    assert cache.read(path, ("train", "val", "test")) is None
    cache.write(path, cache.Packed({split: image_set(0) for split in ("train", "val", "test")}, "state"))
    assert cache.read(path, ("train", "val", "test")) is not None
    assert type("WithVal", (Own,), {"has_val": True})().splits == ("train", "val", "test")


def test_cifar_is_of_the_files_that_its_checksums_name(tmp_path: Path) -> None:
    source = CIFAR10()
    other = type("Other", (CIFAR10,), {"md5": {**CIFAR10.md5, "test_batch": "0" * 32}})()
    assert source.fingerprint(tmp_path) != other.fingerprint(tmp_path) != ""
    assert not source.is_of(cache.Packed({}, other.fingerprint(tmp_path)), source.fingerprint(tmp_path))


def test_a_picture_of_cinic_that_took_anothers_place_with_its_size_and_time_is_seen(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for kind in ("cat", "dog"):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / split / kind / "a.png")
    path = tmp_path / "test" / "dog" / "a.png"
    assert int(CINIC10().load(tmp_path)["test"].images[1, 0, 0, 0]) == 10
    about = path.stat()
    Image.new("RGB", (8, 8), (30, 20, 10)).save(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    assert int(CINIC10().load(tmp_path)["test"].images[1, 0, 0, 0]) == 30
