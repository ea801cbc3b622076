"""The fifteen corruptions: what is exact against SciPy, Pillow and formulas, what is drawn against its distribution."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from cifarlab.evaluation import corruptions
from cifarlab.evaluation.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.evaluation.corruptions.sampling import clipped_zoom, displaced, gaussian_blur, moved
from cifarlab.evaluation.corruptions.weather import plasma


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Smooth coloured pictures, uint8 ``(12, 3, 32, 32)``."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(12, 3, 6, 6, generator=generator)
    return (torch.nn.functional.interpolate(small, size=(32, 32), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def grey() -> Tensor:
    return torch.full((40, 3, 32, 32), 100, dtype=torch.uint8)


def test_the_names_are_those_of_the_published_files() -> None:
    assert list(CORRUPTIONS) == [
        "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
        "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_a_function_of_seed_and_pictures(
    name: str, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = corrupted(pictures, name, 5, seed=3)
    assert once.dtype == torch.uint8
    assert once.shape == pictures.shape
    assert torch.equal(once, corrupted(pictures, name, 5, seed=3))
    drawn = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert torch.equal(once, corrupted(pictures, name, 5, seed=4)) != drawn
    distances = [(corrupted(pictures, name, strength).float() - pictures).abs().mean() for strength in (1, 5)]
    assert distances[0] > 0
    if name != "elastic_transform":  # its first strength moves the whole, its last each pixel
        assert distances[1] > distances[0]
    large = torch.nn.functional.interpolate(pictures[:2].float(), size=(48, 64)).to(torch.uint8)
    assert corrupted(large, name, 1).shape == large.shape


def test_noise_has_the_published_amounts(grey: Tensor) -> None:
    for strength, deviation in zip(STRENGTHS, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        noise = corrupted(grey, "gaussian_noise", strength).double() / 255 - 100 / 255
        assert noise.std().item() == pytest.approx(deviation, rel=0.02)
    for strength, photons in zip(STRENGTHS, (500, 250, 100, 75, 50), strict=True):
        noise = corrupted(grey, "shot_noise", strength).double() / 255
        assert noise.std().item() == pytest.approx((100 / 255 / photons) ** 0.5, rel=0.03)
    for strength, share in zip(STRENGTHS, (0.01, 0.02, 0.03, 0.05, 0.07), strict=True):
        noisy = corrupted(grey, "impulse_noise", strength)
        changed = noisy[noisy != 100]
        assert len(changed) / noisy.numel() == pytest.approx(share, rel=0.1)
        assert set(changed.tolist()) == {0, 255}
        assert (changed == 255).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_contrast_and_brightness_follow_their_formulas(pictures: Tensor) -> None:
    pixels = pictures.double().numpy() / 255
    means = pixels.mean(axis=(2, 3), keepdims=True)
    expected = np.clip((pixels - means) * 0.15 + means, 0, 1) * 255
    assert np.abs(corrupted(pictures, "contrast", 5).numpy() - np.floor(expected)).max() <= 1
    bright = corrupted(pictures, "brightness", 3)
    for place in ((0, 0), (9, 20), (31, 5)):
        red, green, blue = pixels[1, :, *place]
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        theirs = np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.15, 1))) * 255
        assert np.abs(bright[1, :, *place].numpy() - theirs).max() <= 1


def test_pixelation_and_jpeg_are_pillow_s(pictures: Tensor) -> None:
    for strength, share, quality in ((1, 0.95, 80), (4, 0.75, 50), (5, 0.65, 40)):
        pixelated, compressed = (corrupted(pictures, name, strength) for name in ("pixelate", "jpeg_compression"))
        for picture, coarse, lossy in zip(pictures, pixelated, compressed, strict=True):
            image = Image.fromarray(picture.permute(1, 2, 0).numpy())
            small = image.resize((int(32 * share), int(32 * share)), Image.Resampling.BOX)
            theirs = np.asarray(small.resize((32, 32), Image.Resampling.BOX)).astype(int)
            assert np.abs(theirs - coarse.permute(1, 2, 0).numpy()).max() <= 1
            file = io.BytesIO()
            image.save(file, "JPEG", quality=quality)
            assert np.array_equal(np.asarray(Image.open(file)), lossy.permute(1, 2, 0).numpy())


def test_sampling_is_scipy_s(pictures: Tensor) -> None:
    images = pictures.float() / 255
    plane = images[0, 0].double().numpy()
    for sigma in (0.4, 1.92):
        ours = gaussian_blur(images, sigma)[0, 0].numpy()
        np.testing.assert_allclose(ours, ndimage.gaussian_filter(plane, sigma, mode="nearest"), atol=1e-5)
        ours = gaussian_blur(images, sigma, truncate=3, border="on_edge")[0, 0].numpy()
        theirs = ndimage.gaussian_filter(plane, sigma, mode="reflect", truncate=3)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for factor in (1.01, 1.13, 1.25, 2.25):
        part = int(np.ceil(32 / factor))
        top = (32 - part) // 2
        large = ndimage.zoom(plane[top : top + part, top : top + part], factor, order=1)
        trim = (large.shape[0] - 32) // 2
        theirs = large[trim : trim + 32, trim : trim + 32]
        np.testing.assert_allclose(clipped_zoom(images, factor)[0, 0].numpy(), theirs, atol=1e-5)
    x = torch.rand(12, 32, 32, generator=torch.Generator().manual_seed(1)) * 40 - 4
    y = torch.rand(12, 32, 32, generator=torch.Generator().manual_seed(2)) * 40 - 4
    for border, mode in (("on_edge", "reflect"), ("on_pixel", "mirror")):
        theirs = ndimage.map_coordinates(plane, [y[0].numpy(), x[0].numpy()], order=1, mode=mode)
        np.testing.assert_allclose(displaced(images, x, y, border)[0, 0].numpy(), theirs, atol=1e-4)  # type: ignore[arg-type]


def test_motion_is_half_a_gaussian_along_a_line() -> None:
    point = torch.zeros(2, 1, 33, 33)
    point[:, :, 16, 16] = 1
    blurred = moved(point, torch.tensor([0.0, -90.0]), radius=6, sigma=2)
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    weights /= weights.sum()
    np.testing.assert_allclose(blurred[0, 0, 16, 16 - np.arange(13)].numpy(), weights, atol=1e-6)
    np.testing.assert_allclose(blurred[1, 0, 16 + np.arange(13), 16].numpy(), weights, atol=1e-6)
    assert blurred.sum().item() == pytest.approx(2, abs=1e-5)


def test_glass_moves_each_pixel_by_one_up_or_left_at_most(pictures: Tensor) -> None:
    glassy = corrupted(pictures, "glass_blur", 1)  # a blur of a twentieth of a pixel is none
    assert torch.equal(glassy[:, :, :2], pictures[:, :, :2])
    inner = glassy[:, :, 2:, 2:]
    near = [pictures[:, :, 2 - up : 32 - up, 2 - left : 32 - left] for up in (0, 1) for left in (0, 1)]
    hits = torch.stack([(inner == each).all(dim=1) for each in near])
    assert hits.any(dim=0).all()
    assert (~hits[0]).double().mean() > 0.6  # three of four moves are off the spot


def test_clouds_fill_the_unit_interval_and_roughen_with_slower_decay() -> None:
    draws = Draws(0, torch.zeros(50, 3, 32, 32, dtype=torch.uint8))
    smooth, rough = plasma(draws, 50, 32, 3.0), plasma(draws, 50, 32, 1.75)
    for cloud in (smooth, rough):
        assert cloud.amin(dim=(1, 2, 3)).max() == 0
        assert cloud.amax(dim=(1, 2, 3)).min() == 1
    steps = [(cloud - cloud.roll(1, 3)).abs().mean().item() for cloud in (smooth, rough)]
    assert steps[1] > 1.5 * steps[0]


def test_pictures_of_a_chunk_share_a_generator_and_chunks_do_not(grey: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruptions, "CHUNK", 20)
    noisy = corrupted(grey, "gaussian_noise", 1)
    assert not torch.equal(noisy[:20], noisy[20:])
    assert torch.equal(noisy[:20], corrupted(grey[:20], "gaussian_noise", 1))
