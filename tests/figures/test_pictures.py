"""Picture grids: which picture stands where, under which words."""

import io

import numpy as np
import pytest

from cifarlab.figures.pictures import ascent, augmentations, feature_maps, filters, mistakes, samples, unit

IMAGES = np.stack([np.full((4, 4, 3), 40 * place, dtype=np.uint8) for place in range(6)])


def shown(figure):
    """The first pixel of every picture with the title above it."""
    return [
        (axis.get_title(), float(np.ravel(axis.get_images()[0].get_array())[0]))
        for axis in figure.axes
        if axis.get_images()
    ]


def test_samples_show_the_first_picture_of_each_class_that_occurs():
    figure = samples(IMAGES, [2, 0, 2, 0, 3, 3], ["a", "b", "c", "d"], note="6 pictures")
    assert shown(figure) == [("a", 40.0), ("c", 0.0), ("d", 160.0)]
    with pytest.raises(ValueError, match="no picture"):
        samples(IMAGES[:0], [], ["a"])


def test_samples_of_a_class_stand_below_each_other_under_its_name():
    figure = samples(IMAGES, [1, 0, 1, 0, 1, 1], ["a", "b"], per_class=3)
    assert shown(figure) == [("a", 40.0), ("b", 0.0), ("", 120.0), ("", 80.0), ("", 160.0)]
    places = [axis.get_position() for axis in figure.axes]
    assert [round(place.x0, 3) for place in places] == [round(places[n].x0, 3) for n in (0, 1, 0, 1, 1)]
    assert places[0].y0 > places[2].y0 > places[4].y0
    in_blocks = samples(IMAGES[:3], [0, 1, 2], ["a", "b", "c"], columns=2)
    assert shown(in_blocks) == [("a", 0.0), ("b", 40.0), ("c", 80.0)]
    assert in_blocks.axes[2].get_position().x0 == in_blocks.axes[0].get_position().x0


def test_mistakes_stand_in_the_order_given():
    figure = mistakes(IMAGES[[2, 3, 1]], ["b 0.80", "a 0.60", "b 0.50"], ["a", "b", "a"], wrong=4, tested=6)
    assert shown(figure) == [("predicted\nb 0.80", 80.0), ("predicted\na 0.60", 120.0), ("predicted\nb 0.50", 40.0)]
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["true\na", "true\nb", "true\na"]
    assert " ".join(figure.get_suptitle().split()) == "4 of 6 wrong (0.6667), the surest first"


def test_a_net_without_mistakes_still_gives_a_figure():
    assert mistakes(IMAGES[:0], [], [], wrong=0, tested=6).get_suptitle().startswith("0 of 6 wrong")


def test_augmentations_have_a_row_each_with_the_original_first():
    figure = augmentations(IMAGES[1], {"flip": IMAGES[2:4], "cutout": IMAGES[4:6]})
    assert [value for _, value in shown(figure)] == [40, 80, 120, 40, 160, 200]
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["flip", "cutout"]
    assert [words for words, _ in shown(figure)] == ["original", "", "", "", "", ""]


def test_filters_are_scaled_each_on_its_own():
    weights = np.random.default_rng(0).normal(size=(5, 3, 3, 3)) * np.arange(1, 6).reshape(5, 1, 1, 1)
    together = filters(weights)
    assert len(together.axes) == 5
    for axis in together.axes:
        image = axis.get_images()[0].get_array()
        assert image.shape == (3, 3, 3)
        assert (image.min(), image.max()) == (0.0, 1.0)
    apart = filters(weights, channels="apart")
    assert [axis.get_title() for axis in apart.axes][:4] == ["0 red", "0 green", "0 blue", "1 red"]
    with pytest.raises(ValueError, match="needs 3 input channels, these filters have 1"):
        filters(weights[:, :1])


def test_a_flat_picture_is_grey():
    assert unit(np.zeros(3)).tolist() == [0.5, 0.5, 0.5]


def test_feature_maps_of_one_channel_or_of_all():
    maps = {"conv": np.random.default_rng(0).normal(size=(4, 8, 8)), "pool": np.zeros((2, 4, 4))}
    kinds = {"conv": "Conv2d", "pool": "MaxPool2d"}
    one = feature_maps(maps, kinds=kinds, channel=1)
    titles = ["conv\nConv2d\n8x8, channel 1", "pool\nMaxPool2d\n4x4, channel 1"]
    assert [axis.get_title() for axis in one.axes] == titles
    with pytest.raises(ValueError, match="channel=3: allowed here: 0 to 1, as pool has no more channels"):
        feature_maps(maps, kinds=kinds, channel=3)
    assert len(shown(feature_maps(maps, kinds=kinds))) == 6
    with pytest.raises(ValueError, match="no feature map"):
        feature_maps({}, kinds={})


def test_ascent_shows_the_way_of_the_score():
    figure = ascent(IMAGES[1], [-1.33, 20.0, 65.59], name="jellyfish")
    assert figure.axes[1].get_title(loc="left") == "score -1.33 → 65.59"


def test_a_figure_saves_and_dollars_are_no_mathematics():
    buffer = io.BytesIO()
    samples(IMAGES, [0] * 6, ["price in $ and $"]).savefig(buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_grey_is_not_stretched():
    kernel = np.array([[[[0.0, 1.0]], [[0.25, 0.5]], [[0.5, 0.5]]]])
    for axis in filters(kernel, channels="apart").axes:
        assert axis.get_images()[0].get_clim() == (0, 1)


def test_feature_maps_begin_with_the_picture_itself():
    maps = {"a_layer.of.a.long.name": np.arange(8.0).reshape(2, 2, 2)}
    kinds = dict.fromkeys(maps, "ReLU")
    one = feature_maps(maps, kinds=kinds, channel=1, original=IMAGES[1])
    assert [axis.get_title() for axis in one.axes] == ["input", "a_layer.of.\na.long.name\nReLU\n2x2, channel 1"]
    assert one.axes[0].get_images()[0].get_array().shape == (4, 4, 3)
    rows = feature_maps(maps, kinds=kinds, original=IMAGES[1])
    assert [text.get_text() for axis in rows.axes for text in axis.texts] == [
        "input",
        "a_layer.of.a.long.name\nReLU 2x2x2",
    ]
