"""Batches: values, order, exactly-once over ranks, resume, the doubled set, and where the tensors lie."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from cifarlab.data.augment import Augment
from cifarlab.data.augment.colour import Brightness, Jitter
from cifarlab.data.augment.cutout import Cutout
from cifarlab.data.augment.mixing import CutMix, Mixup
from cifarlab.data.augment.randaugment import RandAugment
from cifarlab.data.augment.warp import Rotation
from cifarlab.data.augment.windows import Crop, Flip
from cifarlab.data.batches import Batches, Places
from cifarlab.data.images import ImageSet
from cifarlab.data.seeds import Seeds

CPU = torch.device("cpu")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def numbered(count: int, size: int = 8) -> ImageSet:
    """Pictures of noise whose first pixel spells their number in red and green; labels are the number modulo 10."""
    pictures = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(count)
    pictures[:, :, 0, 0] = torch.stack([numbers // 256, numbers % 256, 0 * numbers], dim=1)
    return ImageSet(pictures.to(torch.uint8), numbers % 10, tuple("abcdefghij"))


def make(images: ImageSet, batch_size: int = 16, **options) -> Batches:
    options = {"mean": MEAN, "std": STD, "device": CPU, "shuffle": True, "seeds": Seeds.same(1)} | options
    return Batches(images, batch_size, **options)


def pixels(batch: torch.Tensor) -> torch.Tensor:
    """The uint8 pictures of a normalised batch."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((batch.cpu() * std + mean) * 255).round().to(torch.uint8)


def numbers(batches) -> list[int]:
    """The numbers of all pictures given, in order."""
    first = torch.cat([pixels(images)[:, :, 0, 0] for images, _ in batches]).long()
    return (first[:, 0] * 256 + first[:, 1]).tolist()


# Values


def test_batches_are_the_normalised_pictures_in_channels_last() -> None:
    images = numbered(40)
    batches = list(make(images, shuffle=False, seeds=None))
    assert [len(labels) for _, labels in batches] == [16, 16, 8]
    given = torch.cat([pictures for pictures, _ in batches])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(given, (images.images / 255 - mean) / std, atol=1e-6)
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    for pictures, labels in batches:
        assert pictures.dtype == torch.float32
        assert pictures.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64


@pytest.mark.parametrize(
    "steps",
    [
        {"crop": Crop(padding=1), "flip": Flip()},
        {"rotation": Rotation()},
        {"jitter": Jitter(), "cutout": Cutout(size=2)},
        {"randaugment": RandAugment()},
        {"mixup": Mixup()},
        {"cutmix": CutMix(weight="picture")},
    ],
    ids="+".join,
)
@pytest.mark.parametrize("mode", ["replace", "append"])
def test_augmented_batches_keep_type_and_layout_and_leave_the_set_alone(steps: dict, mode: str) -> None:
    images = numbered(40)
    before = images.images.clone()
    pictures, labels = next(iter(make(images, augment=Augment(mode=mode, **steps))))
    assert pictures.shape == (16, 3, 8, 8)
    assert pictures.dtype == torch.float32
    assert pictures.is_contiguous(memory_format=torch.channels_last)
    if "mixup" in steps or "cutmix" in steps:
        assert labels.shape == (16, 10)
        assert torch.allclose(labels.sum(1), torch.ones(16))
    else:
        assert labels.dtype == torch.int64
    assert torch.equal(images.images, before)


# Order


def test_an_epoch_gives_every_picture_once_in_an_order_of_its_own() -> None:
    epoch = 0
    batches = make(numbered(1000), batch_size=64, epoch=lambda: epoch)
    first, again = numbers(batches), numbers(batches)
    epoch = 1
    second = numbers(batches)
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first == again
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 10
    assert sum(a == b for a, b in zip(first, range(1000), strict=True)) < 10


def test_the_order_has_its_own_seed_and_needs_no_global_generator() -> None:
    images = numbered(200)
    torch.manual_seed(1)
    one = numbers(make(images, seeds=Seeds(init=0, order=5, augment=0)))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    same = numbers(make(images, seeds=Seeds(init=9, order=5, augment=9)))
    assert torch.equal(torch.get_rng_state(), state)
    assert one == same
    assert one != numbers(make(images, seeds=Seeds(init=0, order=6, augment=0)))
    assert numbers(make(images, shuffle=False)) == list(range(200))


def test_the_epoch_is_asked_for_with_the_first_batch() -> None:
    asked = []
    batches = make(numbered(40), epoch=lambda: asked.append(0) or 0)
    iterator = iter(batches)
    assert asked == []
    next(iterator)
    next(iterator)
    assert asked == [0]


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [16, 16, 8]), (True, [16, 16])])
def test_only_drop_last_leaves_pictures_out(drop_last: bool, sizes: list[int]) -> None:
    batches = make(numbered(40), drop_last=drop_last)
    assert len(batches) == len(sizes)
    assert [len(labels) for _, labels in batches] == sizes


def test_impossible_sizes_and_missing_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="3 images make no batch of batch_size=16 for each of 4 ranks"):
        make(numbered(3), world_size=4)
    with pytest.raises(ValueError, match="10 images make no batch of batch_size=16"):
        make(numbered(10), drop_last=True)
    with pytest.raises(ValueError, match="seeds=None cannot shuffle or augment"):
        make(numbered(10), seeds=None)


# Ranks


@pytest.mark.parametrize("count", [5, 16, 33, 64, 65, 67, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("batch_size", [1, 8, 50])
def test_ranks_share_an_epoch_exactly_once_in_equal_numbers_of_batches(
    count: int, world_size: int, batch_size: int
) -> None:
    images = numbered(count, size=2)
    ranks = [make(images, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    given = [[len(labels) for _, labels in batches] for batches in ranks]
    assert len({len(sizes) for sizes in given} | {len(batches) for batches in ranks}) == 1
    assert min(min(sizes) for sizes in given) >= 1
    assert max(max(sizes) for sizes in given) <= batch_size + 1
    assert all(max(step) - min(step) <= 1 for step in zip(*given, strict=True))
    assert sorted(number for batches in ranks for number in numbers(batches)) == list(range(count))


def test_one_step_of_all_ranks_is_one_step_of_a_single_large_batch() -> None:
    images = numbered(100)
    alone = [set(numbers([batch])) for batch in make(images, 20)]
    ranks = [[numbers([batch]) for batch in make(images, 10, rank=rank, world_size=2)] for rank in range(2)]
    assert [set(a + b) for a, b in zip(*ranks, strict=True)] == alone


def test_ranks_draw_their_own_augmentations() -> None:
    grey = ImageSet(torch.full((32, 3, 4, 4), 100, dtype=torch.uint8), torch.zeros(32, dtype=torch.int64), ("grey",))
    augment = Augment(brightness=Brightness(strength=0.5))
    first, second = (next(iter(make(grey, augment=augment, rank=rank, world_size=2)))[0] for rank in range(2))
    assert not torch.isin(first.unique(), second.unique()).any()


WORKER = """
import os, sys, torch
from torch.nn.parallel import DistributedDataParallel
from cifarlab.data.batches import Batches, Places
from cifarlab.data.images import ImageSet
from cifarlab.data.seeds import Seeds

torch.set_num_threads(1)
rank, world_size = int(sys.argv[1]), 2
torch.distributed.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=world_size)
count = 67  # three steps of 2 x 11 and one picture more, which one rank takes in its last batch
values = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1).repeat(1, 3, 2, 2)
images = ImageSet(values, torch.arange(count), tuple(map(str, range(count))))
batches = Batches(
    images, 11, mean=(0, 0, 0), std=(1, 1, 1), device=torch.device("cpu"), shuffle=True, seeds=Seeds.same(0),
    rank=rank, world_size=world_size,
)
net = DistributedDataParallel(torch.nn.Linear(12, 2))
seen = torch.zeros(count)
for pictures, labels in batches:
    net(pictures.flatten(1)).sum().backward()
    seen[labels] += 1
torch.distributed.all_reduce(seen)
print("seen", sorted(set(seen.tolist())), "batches", len(batches))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_two_processes_train_through_an_epoch_with_every_picture_once(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    store = (tmp_path / "store").as_uri()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), store],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        answers = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [out.strip() for out, _ in answers] == ["seen [1.0] batches 3"] * 2, answers


# Resume


def equal(ours, theirs) -> bool:
    return all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(ours, theirs, strict=True))


def test_any_batch_can_be_made_again() -> None:
    batches = make(numbered(100), augment=Augment(crop=Crop(padding=2), flip=Flip(), mixup=Mixup()), epoch=lambda: 3)
    whole = list(batches)
    assert equal([batches.batch(3, 4), batches.batch(3, 1)], [whole[4], whole[1]])


def test_places_are_those_of_the_epoch_that_is_asked_for() -> None:
    """Each iteration asks anew, so that a run that is gone on with has the batches of its own epoch."""
    augment = Augment(crop=Crop(padding=2), rotation=Rotation(), randaugment=RandAugment())
    epochs = iter((4, 5, 4))
    places = Places(make(numbered(100), augment=augment, epoch=lambda: next(epochs)))
    first, second, again = ([place.make() for place in places] for _ in range(3))
    assert equal(first, list(make(numbered(100), augment=augment, epoch=lambda: 4)))
    assert equal(first, again)
    assert not equal(first, second)


def test_the_epoch_is_asked_for_with_the_first_place() -> None:
    """Lightning begins an iteration before it has restored the epoch of a run that is gone on with."""
    now = [0]
    places = Places(make(numbered(40), augment=Augment(crop=Crop(padding=2)), epoch=lambda: now[0]))
    begun = iter(places)
    now[0] = 3
    wanted = list(make(numbered(40), augment=Augment(crop=Crop(padding=2)), epoch=lambda: 3))
    assert equal([place.make() for place in begun], wanted)


# The doubled set


@pytest.mark.parametrize("mixing", [{}, {"mixup": Mixup()}], ids=["hard", "soft"])
def test_append_gives_each_original_once_and_each_augmented_copy_once(mixing: dict) -> None:
    images = numbered(100)
    augment = Augment(mode="append", flip=Flip(probability=1), **mixing)
    batches = make(images, augment=augment)
    assert batches.num_images == 200
    assert len(batches) == 13
    given = [(pixels(pictures), labels) for pictures, labels in batches]
    pictures = torch.cat([pictures for pictures, _ in given])
    labels = torch.cat([labels for _, labels in given])
    assert len(pictures) == 200
    if mixing:
        assert torch.allclose(labels.sum(1), torch.ones(200))
        labels = torch.where(labels.max(1).values == 1, labels.argmax(1), -1)

    def found(wanted: torch.Tensor) -> Counter:
        matches = (pictures.flatten(1)[None] == wanted.flatten(1)[:, None]).all(2)
        assert bool((matches.sum(1) == 1).all())
        return Counter(labels[matches.nonzero()[:, 1]].tolist())

    assert found(images.images) == Counter(images.labels.tolist())
    if not mixing:
        assert found(images.images.flip(3)) == Counter(images.labels.tolist())


def test_append_draws_its_copies_anew_in_every_epoch() -> None:
    augment = Augment(mode="append", brightness=Brightness(strength=0.5))
    batches = make(numbered(50), batch_size=100, shuffle=False, augment=augment)
    (first, _), (second, _) = batches.batch(0, 0), batches.batch(1, 0)
    assert torch.equal(first[:50], second[:50])
    assert not torch.isclose(first[50:], second[50:]).flatten(1).all(1).any()


# Where the tensors lie


def test_a_set_in_channels_last_is_not_copied() -> None:
    images = numbered(10)
    packed = ImageSet(images.images.contiguous(memory_format=torch.channels_last), images.labels, images.classes)
    batches = make(packed)
    assert batches._pictures.data_ptr() == packed.images.data_ptr()
    assert equal(list(batches), list(make(images)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kept_on", ["cuda", "cpu"])
def test_batches_reach_the_gpu_without_a_stop(kept_on: str) -> None:
    images = numbered(256, size=32)
    kept = ImageSet(images.images.to(kept_on), images.labels.to(kept_on), images.classes)
    cuda = torch.device("cuda")
    steps = {"crop": Crop(), "flip": Flip(), "rotation": Rotation(), "cutout": Cutout()}
    batches = make(kept, 64, device=cuda, augment=Augment(**steps, randaugment=RandAugment(), mixup=Mixup()))
    next(iter(batches))
    torch.cuda.set_sync_debug_mode("error" if kept_on == "cuda" else "default")
    try:
        for pictures, labels in batches:
            assert pictures.device.type == labels.device.type == "cuda"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sorted(numbers(make(kept, 64, device=cuda))) == list(range(256))
