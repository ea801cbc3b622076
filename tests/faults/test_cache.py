"""A packed data set is believed only if it is the one that was packed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cifarlab.data import cache
from cifarlab.data.images import ImageSet


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
