"""The operations: distributions, identity at zero strength, agreement with torchvision and timm, determinism."""

import colorsys
import inspect
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats
from timm.data.mixup import Mixup as TimmMixup
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from cifarlab.data.augment import Augment, Operation, colour, randaugment, warp
from cifarlab.data.augment.colour import Brightness, Jitter
from cifarlab.data.augment.cutout import Cutout
from cifarlab.data.augment.draw import Draw, Numbers, draw_of, uniform_numbers
from cifarlab.data.augment.mixing import CutMix, Mixup, soft_labels
from cifarlab.data.augment.randaugment import OPERATIONS, RandAugment
from cifarlab.data.augment.warp import Rotation, Translation, Zoom
from cifarlab.data.augment.windows import AlternatingFlip, Crop, Flip

SEED_OF_MIXING = 9  # half of a box of its weight is a whole number of pixels: timm releases differ in other cases
UNLIKELY = 0.01  # p-value below which a distribution is refused; seeds are fixed, so the verdict never changes
PER_PICTURE = {
    "crop": Crop(),
    "flip": Flip(),
    "alternating_flip": AlternatingFlip(),
    "rotation": Rotation(),
    "zoom": Zoom(),
    "translation": Translation(),
    "brightness": Brightness(),
    "jitter": Jitter(),
    "randaugment": RandAugment(),
    "cutout": Cutout(size=8),
}
MIXING = {"mixup": Mixup(weight="picture"), "cutmix": CutMix(weight="picture")}
CLASSES = {name: type(step) for name, step in (PER_PICTURE | MIXING).items()}


def noise(count: int, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def coordinates(count: int) -> torch.Tensor:
    """Pictures whose red is 100 + row and whose green is 100 + column."""
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    picture = torch.stack([100 + row, 100 + column, torch.full_like(row, 50)]).to(torch.uint8)
    return picture.repeat(count, 1, 1, 1)


def draw(count: int, seed: int = 0, **place: int) -> Draw:
    return draw_of(torch.arange(count), seed=seed, **place)


def uniform_p(values: torch.Tensor, low: float, high: float) -> float:
    return stats.kstest(values.double().numpy(), stats.uniform(low, high - low).cdf).pvalue


# Distributions


def test_crop_takes_each_of_the_81_windows_as_often_and_cuts_as_torchvision_does() -> None:
    images = coordinates(8100)
    pixels = Augment(crop=Crop(padding=4)).pixels(images)
    down = pixels[:, 0, 16, 16].long() - 116
    right = pixels[:, 1, 16, 16].long() - 116
    counts = torch.bincount((down + 4) * 9 + (right + 4), minlength=81)
    assert len(counts) == 81
    assert stats.chisquare(counts.numpy()).pvalue > UNLIKELY
    for number in range(0, 8100, 100):
        expected = tv.crop(tv.pad(images[number], [4]), int(down[number]) + 4, int(right[number]) + 4, 32, 32)
        assert torch.equal(pixels[number], expected)


def test_reflected_padding_is_torchvisions() -> None:
    images = noise(5)
    padded = Crop(padding=3, fill="reflect").pad(images.permute(0, 2, 3, 1))
    assert torch.equal(padded.permute(0, 3, 1, 2), tv.pad(images, [3], padding_mode="reflect"))


@pytest.mark.parametrize("probability", [0.3, 0.5])
def test_flip_mirrors_the_given_share(probability: float) -> None:
    images = noise(2000)
    pixels = Augment(flip=Flip(probability=probability)).pixels(images)
    mirrored = (pixels == tv.horizontal_flip(images)).flatten(1).all(1)
    same = (pixels == images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert stats.binomtest(int(mirrored.sum()), 2000, probability).pvalue > UNLIKELY


def test_flip_along_any_axis_takes_both_as_often() -> None:
    images = noise(2000)
    pixels = Augment(flip=Flip(probability=0.6, axis="any")).pixels(images)
    seen = [int((pixels == other).flatten(1).all(1).sum()) for other in (images, tv.hflip(images), tv.vflip(images))]
    assert sum(seen) == 2000
    assert stats.chisquare(seen, [800, 600, 600]).pvalue > UNLIKELY


def test_vertical_flip_and_crop_together_are_torchvisions() -> None:
    images = coordinates(50)
    pixels = Augment(crop=Crop(padding=4), flip=Flip(probability=1, axis="vertical")).pixels(images)
    for picture, image in zip(pixels, images, strict=True):
        top, left = 115 - int(picture[0, 16, 16]) + 4, int(picture[1, 16, 16]) - 116 + 4
        assert torch.equal(picture, tv.vflip(tv.crop(tv.pad(image, [4]), 8 - top, left, 32, 32)))


def test_rotation_zoom_and_translation_are_uniform() -> None:
    turns = Rotation(degrees=40).matrix(draw(2000))
    assert uniform_p(torch.rad2deg(torch.atan2(turns[:, 0, 1], turns[:, 0, 0])), -40, 40) > UNLIKELY
    assert uniform_p(1 / Zoom(largest=1.5).matrix(draw(2000))[:, 0, 0], 1, 1.5) > UNLIKELY
    shifts = Translation(pixels=3).matrix(draw(2000))[:, :2, 2]
    assert uniform_p(shifts[:, 0], -3, 3) > UNLIKELY
    assert uniform_p(shifts[:, 1], -3, 3) > UNLIKELY
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.05


def test_brightness_factors_are_uniform() -> None:
    grey = torch.full((2000, 3, 1, 1), 100.0)
    assert uniform_p(Brightness(strength=0.4)(grey, draw(2000))[:, 0, 0, 0] / 100, 0.6, 1.4) > UNLIKELY


def test_jitter_turns_the_hue_uniformly() -> None:
    red = torch.tensor([200.0, 50.0, 50.0]).view(1, 3, 1, 1).repeat(1000, 1, 1, 1)
    turned = Jitter(brightness=0, contrast=0, saturation=0, hue=0.3)(red, draw(1000))
    hue = torch.tensor([colorsys.rgb_to_hsv(*(pixel / 255).tolist())[0] for pixel in turned[:, :, 0, 0]])
    assert uniform_p((hue + 0.5) % 1 - 0.5, -0.3, 0.3) > UNLIKELY


def test_cutout_centres_are_uniform_and_squares_complete() -> None:
    white = torch.full((4096, 3, 16, 16), 255.0)
    painted = Cutout(size=1, fill="zero")(white, draw(4096))[:, 0] == 0
    assert bool((painted.flatten(1).sum(1) == 1).all())
    assert stats.chisquare(painted.sum(0).flatten().numpy()).pvalue > UNLIKELY
    large = Cutout(size=8)(white, draw(4096))
    assert set(large.unique().tolist()) == {127.5, 255.0}
    assert int((large[:, 0] < 255).flatten(1).sum(1).max()) == 64
    clipped = [min(16, first + 8) - max(0, first) for first in range(-4, 12)]
    assert float((large[:, 0] < 255).float().mean()) == pytest.approx((sum(clipped) / 256) ** 2, rel=0.02)


def test_cutout_probability_is_the_share_painted() -> None:
    painted = Cutout(size=4, probability=0.3, fill="zero")(torch.full((2000, 3, 8, 8), 255.0), draw(2000))
    assert stats.binomtest(int((painted == 0).flatten(1).any(1).sum()), 2000, 0.3).pvalue > UNLIKELY


@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_mixing_weights_are_beta(kind: type[Mixup]) -> None:
    for alpha in (0.4, 1.0, 30.0):  # far below, float32 rounds many of them to 1
        weights = kind(alpha=alpha, weight="picture").weights(draw(3000))
        assert stats.kstest(weights.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > UNLIKELY
    some = kind(alpha=0.4, weight="picture", probability=0.25).weights(draw(3000))
    assert stats.binomtest(int((some < 1).sum()), 3000, 0.25).pvalue > UNLIKELY


def test_randaugment_picks_each_operation_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(OPERATIONS, 0)

    def counting(name: str):
        def operation(pixels: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
            counts[name] += len(pixels)
            assert set(amount.unique().tolist()) == {-0.5, 0.5}
            return pixels

        return operation

    monkeypatch.setattr(randaugment, "OPERATIONS", {name: counting(name) for name in OPERATIONS})
    pixels = torch.rand(2800, 3, 2, 2)
    assert torch.equal(RandAugment(operations=3, magnitude=15)(pixels, draw(2800)), pixels)
    assert sum(counts.values()) == 3 * 2800
    assert stats.chisquare(list(counts.values())).pvalue > UNLIKELY


# Each picture by its own draw


@pytest.mark.parametrize("name", PER_PICTURE)
def test_equal_pictures_come_out_different(name: str) -> None:
    pixels = Augment(**{name: PER_PICTURE[name]}).pixels(noise(1).repeat(64, 1, 1, 1))
    distinct = len(pixels.flatten(1).unique(dim=0))
    assert distinct == 2 if "flip" in name else distinct > 32


@pytest.mark.parametrize("name", MIXING)
def test_mixing_weighs_each_picture_apart(name: str) -> None:
    black_and_white = torch.tensor([0.0, 255.0]).repeat(32).view(64, 1, 1, 1).expand(64, 3, 32, 32)
    mixed, share = MIXING[name](black_and_white, draw(64))
    white = mixed[1::2].mean((1, 2, 3)) / 255
    assert torch.allclose(white, share[1::2], atol=1e-5)
    assert len(share.unique()) > 16


# Identity


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"crop": Crop(padding=0)},
        {"flip": Flip(probability=0)},
        {"rotation": Rotation(degrees=0)},
        {"zoom": Zoom(largest=1)},
        {"translation": Translation(pixels=0)},
        {"rotation": Rotation(degrees=0), "zoom": Zoom(largest=1), "translation": Translation(pixels=0)},
        {"brightness": Brightness(strength=0)},
        {"jitter": Jitter(brightness=0, contrast=0, saturation=0, hue=0)},
        {"cutout": Cutout(size=0)},
        {"cutout": Cutout(probability=0)},
        {"mixup": Mixup(probability=0)},
        {"cutmix": CutMix(probability=0)},
    ],
    ids=lambda steps: "+".join(steps) or "none",
)
def test_zero_strength_is_the_identity(steps: dict) -> None:
    images = noise(16, 20, 28)
    assert torch.equal(Augment(**steps).pixels(images), images)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("autocontrast", "equalize")])
def test_randaugment_operations_do_nothing_at_zero(name: str) -> None:
    pixels = noise(8).float()
    assert torch.allclose(OPERATIONS[name](pixels, torch.zeros(8)), pixels, atol=1e-2)


# Agreement with torchvision and timm


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_warp_is_torchvisions_affine(size: tuple[int, int]) -> None:
    images = noise(6, *size).float()
    degrees = torch.tensor([0.0, 10.0, -35.0, 80.0, 90.0, 5.0])
    factors = torch.tensor([1.0, 1.2, 1.5, 1.0, 1.3, 1.1])
    shifts = torch.tensor([[2.0, -3.0], [0.0, 0.0], [1.0, 4.0], [0.0, 2.0], [-2.0, 1.0], [3.0, 3.0]])
    none = torch.zeros(6)
    zoom = warp.linear(1 / factors, none, none, 1 / factors)
    ours = warp.warp(images, warp.rotation(torch.deg2rad(degrees)) @ zoom @ warp.shift(shifts))
    for number, image in enumerate(images):
        expected = tv.affine(
            image,
            angle=float(degrees[number]),
            translate=shifts[number].tolist(),
            scale=float(factors[number]),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        assert torch.allclose(ours[number], expected, atol=0.1), number


def test_a_quarter_turn_is_exact() -> None:
    images = noise(3).float()
    turned = warp.warp(images, warp.rotation(torch.full((3,), math.pi / 2)))
    assert torch.allclose(turned, tv.rotate(images, -90), atol=0.05)


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (colour.brighten, tv.adjust_brightness, [0.0, 0.5, 1.0, 1.7]),
        (colour.contrast, tv.adjust_contrast, [0.0, 0.5, 1.0, 1.7]),
        (colour.saturate, tv.adjust_saturation, [0.0, 0.5, 1.0, 1.7]),
        (colour.turn_hue, tv.adjust_hue, [-0.5, -0.1, 0.0, 0.33]),
        (randaugment.sharpen, tv.adjust_sharpness, [0.0, 0.5, 1.0, 1.7]),
    ],
    ids=["brightness", "contrast", "saturation", "hue", "sharpness"],
)
def test_colours_are_torchvisions(ours, theirs, factors: list[float]) -> None:
    images = noise(4).float()
    images[:, :, :4] = images[:, :1, :4]  # grey pixels, whose hue is undefined
    adjusted = ours(images, torch.tensor(factors))
    for number, factor in enumerate(factors):
        assert torch.allclose(adjusted[number] / 255, theirs(images[number] / 255, factor), atol=1e-4), factor


def test_tone_operations_are_torchvisions() -> None:
    images = (noise(6).float() * torch.tensor([1.0, 0.5, 0.3, 0.8, 0.1, 0.0]).view(-1, 1, 1, 1)).round()
    whole = images.to(torch.uint8)
    amount = torch.full((6,), 0.5)
    assert torch.equal(randaugment.equalize(images, amount), tv.equalize(whole).float())
    assert torch.allclose(randaugment.autocontrast(images, amount) / 255, tv.autocontrast(images / 255), atol=1e-5)
    assert torch.equal(randaugment.posterize(images, amount), tv.posterize(whole, bits=6).float())
    assert torch.equal(randaugment.solarize(images, amount), tv.solarize(whole, 128).float())


@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y", "rotate"])
def test_randaugment_moves_are_torchvisions(name: str) -> None:
    images = noise(2).float()
    slant = math.degrees(math.atan(0.15))
    shift = 0.5 * 32 * 150 / 331
    expected = {
        "shear_x": {"shear": [slant, 0.0]},
        "shear_y": {"shear": [0.0, slant]},
        "translate_x": {"translate": [shift, 0.0]},
        "translate_y": {"translate": [0.0, shift]},
        "rotate": {"angle": 15.0},
    }[name]
    plain = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    theirs = tv.affine(images, **(plain | expected), interpolation=InterpolationMode.BILINEAR)
    assert torch.allclose(OPERATIONS[name](images, torch.full((2,), 0.5)), theirs, atol=0.1)


def test_cutout_is_torchvisions_erase() -> None:
    images = noise(20).float()
    cut = Cutout(size=6)(images, draw(20))
    for image, result in zip(images, cut, strict=True):
        rows, columns = (result == 127.5).all(0).nonzero().unbind(1)
        top, left, height, width = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert torch.equal(result, tv.erase(image, top, left, height, width, torch.tensor(127.5)))


@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_mixing_is_timms(kind: type[Mixup], monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = noise(16).float(), torch.arange(16) % 10
    step = kind(alpha=1.0)
    mixed, share = step(images, draw(16, seed=SEED_OF_MIXING))
    theirs = TimmMixup(mixup_alpha=1.0, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=10)
    replayed = draw(16, seed=SEED_OF_MIXING)
    numbers = step.numbers(replayed)
    weight = float(step.weights(numbers)[0])
    monkeypatch.setattr(theirs, "_params_per_batch", lambda: (weight, kind is CutMix))
    monkeypatch.setattr(np.random, "randint", lambda low, high, size=None: int(numbers.integers(high)[0]))
    expected, targets = theirs(images.clone(), labels)
    assert torch.allclose(mixed, expected, atol=1e-3)
    assert torch.allclose(soft_labels(labels, share, 10), targets, atol=1e-5)
    assert 0.05 < float(share[0]) < 0.95
    assert int(32 * math.sqrt(1 - weight)) % 2 == 0


# Determinism


@pytest.mark.parametrize("name", PER_PICTURE | MIXING)
def test_same_place_same_numbers_and_global_generators_stay(name: str) -> None:
    augment = Augment(**{name: (PER_PICTURE | MIXING)[name]})
    images = noise(32)
    first = augment.pixels(images, seed=3, epoch=2)
    torch.manual_seed(99)
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    again = augment.pixels(images, seed=3, epoch=2)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (str(np.random.get_state()), random.getstate()) == states[1:]  # noqa: NPY002
    assert torch.equal(first, again)
    assert not torch.equal(first, augment.pixels(images, seed=4, epoch=2))
    assert not torch.equal(first, augment.pixels(images, seed=3, epoch=3))


def test_seed_and_epoch_change_every_number_and_the_step_those_of_the_batch() -> None:
    places = [{}, {"seed": 1}, {"epoch": 1}, {"seed": 2**32}, {"seed": 2**32 + 1}]
    numbers = torch.stack([draw(8, **place).uniform(0, 1) for place in places])
    assert len(numbers.unique(dim=0)) == len(places)
    assert torch.equal(draw(8, step=1).uniform(0, 1), numbers[0])
    places.append({"step": 1})
    assert len({draw(8, **place).batch.uniform(0, 1).item() for place in places}) == len(places)


def test_a_number_is_splitmix64_of_its_place() -> None:
    """Bits by Python's integers, which do not wrap around."""

    def mixed(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    def after(value: int) -> int:
        return mixed((value + 0x9E3779B97F4A7C15) % 2**64)

    assert after(0) == 0xE220A8397B1DCDAF  # the first output of the reference implementation from seed 0
    start = after((after((after(7) + 3) % 2**64) + 2) % 2**64)
    expected = [(mixed((start + counter * 0x9E3779B97F4A7C15) % 2**64) >> 40) / 2**24 for counter in range(1000)]
    assert uniform_numbers(torch.arange(1000), seed=7, epoch=3, purpose=2).tolist() == expected


def test_numbers_of_a_picture_do_not_depend_on_its_batch() -> None:
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    for step in (*PER_PICTURE.values(), *MIXING.values()):
        if isinstance(step, Mixup):
            whole = step.weights(draw(1000, seed=3, epoch=2))
            part = step.weights(draw_of(order[:10], seed=3, epoch=2, count=1000))
        else:
            name = next(name for name, each in PER_PICTURE.items() if each is step)
            images, augment = noise(1000, 16, 16), Augment(**{name: step})
            whole = augment.pixels(images, seed=3, epoch=2)
            part = augment.pixels(images[order[:10]], seed=3, epoch=2, indices=order[:10])
        assert torch.allclose(part.float(), whole[order[:10]].float(), atol=1)


def test_numbers_are_independent_of_each_other() -> None:
    """Between purposes, epochs, seeds and neighbours: correlations of 20,000 pairs, of which the largest is bounded."""
    counters = torch.arange(20_000)
    keys = [(seed, epoch, purpose) for seed in range(3) for epoch in range(4) for purpose in range(4)]
    columns = torch.stack([uniform_numbers(counters, *key) for key in keys]).double()
    correlations = torch.corrcoef(torch.cat([columns, columns[:8].roll(1, 1)])).fill_diagonal_(0) * math.sqrt(20_000)
    pairs = 56 * 55 / 2
    assert float(correlations.abs().max()) < stats.norm.isf(UNLIKELY / 2 / pairs)
    assert stats.kstest(columns.flatten(), "uniform").pvalue > UNLIKELY


def test_an_integer_never_reaches_its_bound() -> None:
    largest = torch.tensor([1 - 2**-24])
    counts = torch.arange(1, 5000)
    assert torch.equal((largest * counts).long(), counts - 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_has_the_numbers_of_the_cpu() -> None:
    for purpose in (0, 5):
        counters = torch.arange(100_000)
        there = uniform_numbers(counters.cuda(), 2**40 + 1, 17, purpose)
        assert torch.equal(there.cpu(), uniform_numbers(counters, 2**40 + 1, 17, purpose))


def test_the_next_epochs_numbers_lie_where_those_before_did() -> None:
    numbers = Numbers(100, seed=1, device=torch.device("cpu"))
    rows = torch.arange(100)
    first = Draw(rows, numbers).integers(9)
    (column,) = numbers._columns.values()
    numbers.start(1)
    assert next(iter(numbers._columns.values())) is column
    second = Draw(rows, numbers).integers(9)
    assert not torch.equal(first, second)
    assert torch.equal(second, draw(100, seed=1, epoch=1).integers(9))


def test_both_ways_to_apply_randaugment_are_one() -> None:
    pixels = noise(200).float()
    choice, amount = draw(200).integers(len(OPERATIONS)), draw(200, seed=1).uniform(-1, 1)
    chosen = randaugment.to_the_chosen(pixels, choice, amount)
    torch.testing.assert_close(randaugment.to_all(pixels, choice, amount), chosen, rtol=0, atol=1e-3)


def test_alternating_flip_shows_the_other_half_in_the_next_epoch() -> None:
    images = noise(1000)
    augment = Augment(alternating_flip=AlternatingFlip())
    mirrored = []
    for epoch in range(4):
        pixels = augment.pixels(images, seed=6, epoch=epoch)
        mirrored.append((pixels == tv.hflip(images)).flatten(1).all(1))
        assert torch.equal(torch.where(mirrored[epoch][:, None, None, None], tv.hflip(images), images), pixels)
    assert torch.equal(mirrored[0], ~mirrored[1])
    assert torch.equal(mirrored[0], mirrored[2])
    assert torch.equal(mirrored[1], mirrored[3])
    assert stats.binomtest(int(mirrored[0].sum()), 1000, 0.5).pvalue > UNLIKELY


def test_alternating_flip_knows_a_picture_by_its_index() -> None:
    step, order = AlternatingFlip(), torch.randperm(10_000, generator=torch.Generator().manual_seed(0))
    straight, _ = step.sides(draw(10_000, seed=5))
    shuffled, _ = step.sides(draw_of(order, seed=5, step=7))
    other, _ = step.sides(draw(10_000, seed=6))
    assert torch.equal(shuffled, straight[order])
    assert stats.binomtest(int((straight == other).sum()), 10_000, 0.5).pvalue > UNLIKELY
    assert stats.binomtest(int((straight[1:] == straight[:-1]).sum()), 9_999, 0.5).pvalue > UNLIKELY


# The pipeline


def test_operations_that_exclude_each_other_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"augment\.flip and augment\.alternating_flip .* allowed: one of the two"):
        Augment(flip=Flip(), alternating_flip=AlternatingFlip())
    with pytest.raises(ValueError, match=r"augment\.mixup and augment\.cutmix .* allowed: one of the two"):
        Augment(mixup=Mixup(), cutmix=CutMix())
    with pytest.raises(ValueError, match=r"crop\.padding=8 cannot reflect 8x8 pictures; allowed: below 8"):
        Augment(crop=Crop(padding=8, fill="reflect")).pixels(noise(2, 8, 8))


def test_everything_at_once_on_pictures_that_are_not_square() -> None:
    steps = {name: step for name, step in (PER_PICTURE | MIXING).items() if name not in ("alternating_flip", "mixup")}
    augment = Augment(**steps)
    assert set(augment.names) == set(steps)
    pixels = augment.pixels(noise(16, 24, 40))
    assert pixels.shape == (16, 3, 24, 40)
    assert pixels.dtype == torch.uint8


def test_the_order_of_the_keys_changes_nothing() -> None:
    steps = {"crop": Crop(), "flip": Flip(), "rotation": Rotation(), "brightness": Brightness(), "cutout": Cutout()}
    forward, backward = Augment(**steps), Augment(**dict(reversed(steps.items())))
    assert forward.names == backward.names
    assert torch.equal(forward.pixels(noise(8)), backward.pixels(noise(8)))


def test_unmixed_labels_have_the_form_of_mixed_ones() -> None:
    labels = torch.tensor([2, 0])
    assert torch.equal(Augment().unmixed(labels, 3), labels)
    assert Augment(mixup=Mixup()).unmixed(labels, 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_every_option_of_the_config_group_builds() -> None:
    folder = Path(__file__).parents[2] / "conf" / "augment"
    built = {}
    for file in sorted(folder.glob("*.yaml")):
        node = OmegaConf.to_container(OmegaConf.load(file))
        built[file.stem] = Augment(
            **{key: CLASSES[key](**value) if key in CLASSES else value for key, value in node.items()}
        )
    none, append = built.pop("none"), built.pop("append")
    assert (none.names, none.copies) == ((), 1)
    assert (append.names, append.copies) == ((), 2)
    assert built.pop("flip_any").flip.axis == "any"
    (rotation,) = built.pop("rotation_90").affine
    assert rotation.degrees == 90
    assert {name: augment.names for name, augment in built.items()} == {name: (name,) for name in CLASSES}
    assert set(CLASSES) == set(inspect.signature(Augment).parameters) - {"mode", "own"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda pixels, draw: pixels + torch.rand(8, 1, 1, 1) - 0.5,
            "other pictures for the same draw; take what is random",
        ),
        (
            lambda pixels, draw: pixels[:, :, 1:],
            r"float32 \(8, 3, 5, 8\); allowed: float32 \(8, 3, 6, 8\), as it is given",
        ),
        (lambda pixels, draw: pixels.to(torch.uint8), r"gives uint8 \(8, 3, 6, 8\); allowed: float32"),
        (lambda pixels, draw: pixels / 255 - 1, "gives values from -1 to 0; allowed: 0 to 255"),
        (lambda pixels, draw: pixels * 2, "gives values from 0 to 510; allowed: 0 to 255"),
        (lambda pixels, draw: pixels * math.nan, "gives values from nan to nan"),
        (lambda pixels, draw: None, "gives a NoneType; allowed: a tensor"),
        (lambda pixels, draw: pixels @ draw, r"TypeError: .*Tensor.* \(test_augment\.py:\d+\)$"),
    ],
)
def test_an_operation_of_the_users_is_tried_out(change, fault):
    class Own(Operation):
        def __call__(self, pixels, draw):
            return change(pixels, draw)

    with pytest.raises(ValueError, match=f"^augment.mine: .*{fault}"):
        Augment(mine=Own()).try_out((6, 8))


def test_operations_of_the_users_go_by_their_names_before_cutout():
    def painting(value: float) -> Operation:
        class Own(Operation):
            def __call__(self, pixels, draw):
                return torch.full_like(pixels, value)

        return Own()

    augment = Augment(b=painting(20), cutout=Cutout(size=4, fill="zero"), a=painting(10))
    augment.try_out((32, 32))
    assert augment.names == ("a", "b", "cutout")
    assert augment.pixels(noise(2)).unique().tolist() == [0, 20]
    again = Augment(brightness=Brightness(), darker=Brightness(strength=1.0))  # one of ours a second time
    again.try_out((32, 32))
    assert again.names == ("brightness", "darker")
