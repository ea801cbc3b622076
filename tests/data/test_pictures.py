"""One picture after another of each kind that a folder may hold."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cifarlab.data.pictures import MOST_PIXELS, Unreadable, read_picture


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def file(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    stream.seek(0)
    return stream


def png_of(width, height):
    """A PNG that says it is so large, with a handful of pixels."""
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(99)),
        b"IEND": b"",
    }
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    ]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "TGA"])
def test_a_picture_of_the_right_size_comes_to_the_pixel(kind):
    pixels = noise(32, 32)
    found = read_picture(file(Image.fromarray(pixels), kind), 32)
    assert np.array_equal(found.pixels, pixels)
    assert (found.pixels.dtype, found.kinds) == (np.uint8, ())


def test_of_another_shape_the_square_in_the_middle_is_taken():
    pixels = noise(32, 50)
    assert np.array_equal(read_picture(file(Image.fromarray(pixels), "PNG"), 32).pixels, pixels[:, 9:41])
    assert np.array_equal(read_picture(file(Image.fromarray(noise(51, 32)), "PNG"), 32).pixels, noise(51, 32)[9:41])


def test_of_another_size_it_is_averaged_by_pillows_bicubic_filter():
    pixels = noise(300, 400)
    wanted = Image.fromarray(pixels).crop((50, 0, 350, 300)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(read_picture(file(Image.fromarray(pixels), "PNG"), 64).pixels, np.asarray(wanted))
    flat = np.full((90, 90, 3), (10, 200, 30), dtype=np.uint8)
    assert (read_picture(file(Image.fromarray(flat), "WEBP", lossless=True), 32).pixels == (10, 200, 30)).all()


def test_a_cameras_jpeg_is_nearly_the_same_from_an_eighth_and_stands_upright():
    smooth = Image.fromarray(noise(6, 8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = read_picture(file(smooth, "JPEG", quality=95, exif=exif), 32).pixels.astype(int)
    wanted = np.asarray(
        smooth.rotate(-90, expand=True).crop((0, 200, 1200, 1400)).resize((32, 32), Image.Resampling.BICUBIC)
    )
    assert abs(found - wanted).max() <= 6


RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("picture", "kind", "options", "pixel", "kinds"),
    [
        (Image.new("L", (32, 32), 100), "PNG", {}, (100, 100, 100), {"grey"}),
        (Image.new("1", (32, 32), 1), "PNG", {}, (255, 255, 255), {"grey"}),
        (Image.new("LA", (32, 32), (0, 128)), "PNG", {}, (127, 127, 127), {"grey", "transparent"}),
        (Image.new("RGBA", (32, 32), (255, 0, 0, 128)), "PNG", {}, (255, 127, 127), {"transparent"}),
        (Image.new("RGBA", (32, 32), (0, 255, 0, 0)), "GIF", {}, (255, 255, 255), {"transparent"}),
        (Image.new("RGB", (32, 32), RED).quantize(2), "PNG", {}, RED, set()),
        (Image.new("RGB", (32, 32), RED).quantize(2), "PNG", {"transparency": 0}, (255, 255, 255), {"transparent"}),
        (Image.new("CMYK", (32, 32), (0, 0, 0, 255)), "TIFF", {}, (0, 0, 0), set()),
        (Image.fromarray(np.full((32, 32), 128 * 257, np.uint16)), "PNG", {}, (128, 128, 128), {"grey", "16 bits"}),
        (Image.fromarray(np.full((32, 32), 65535, np.uint16)), "TIFF", {}, (255, 255, 255), {"grey", "16 bits"}),
        (Image.new("RGB", (1, 1), RED), "PNG", {}, RED, {"small"}),
        (Image.new("RGB", (3, 900), RED), "PNG", {}, RED, {"small"}),
    ],
)
def test_every_kind_becomes_three_channels_of_8_bits(picture, kind, options, pixel, kinds):
    found = read_picture(file(picture, kind, **options), 32)
    assert (found.pixels.shape, found.pixels[16, 16].tolist()) == ((32, 32, 3), list(pixel))
    assert set(found.kinds) == kinds


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, "blue")]
    found = read_picture(file(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True), 32)
    assert (found.pixels[5, 5].tolist(), found.kinds) == ([255, 0, 0], ("animated",))


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (io.BytesIO(b""), "no picture of a known format"),
        (io.BytesIO(b"a text file"), "no picture of a known format"),
        (file(Image.new("RGB", (32, 32)), "EPS"), "no picture of a known format"),
        (io.BytesIO(file(Image.fromarray(noise(64, 64)), "JPEG").getvalue()[:900]), "damaged .*truncated"),
        (io.BytesIO(file(Image.fromarray(noise(64, 64)), "PNG").getvalue()[:900]), "damaged .*truncated"),
        (file(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF"), "fractions without a known white"),
        (file(Image.fromarray(np.full((32, 32), 70_000, np.int32)), "TIFF"), "32 bits and no known white"),
        (png_of(60_000, 60_000), f"more than {MOST_PIXELS:,} pixels"),
    ],
)
def test_what_gives_no_picture_says_why(stream, reason):
    with pytest.raises(Unreadable, match=reason):
        read_picture(stream, 32)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_pillow_only_warns_of_is_refused_unread():
    with pytest.raises(Unreadable, match=r"10000x10000 pixels, allowed are 89,478,485 in all"):
        read_picture(png_of(10_000, 10_000), 32)
