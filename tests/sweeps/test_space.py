"""Intervals and lists as the space of a search."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.grid import Grid
from cifarlab.sweeps.intervals import Interval
from cifarlab.sweeps.searching.space import Space


def read(argument: str) -> Interval | None:
    return Interval.read(OverridesParser.create().parse_override(argument))


@pytest.mark.parametrize(
    ("argument", "interval"),
    [
        ("lr=interval(0,0.5)", Interval(0.0, 0.5)),
        ("++lr=tag(log,interval(0.001,1))", Interval(0.001, 1.0, log=True)),
        ("blocks=int(interval(1,8))", Interval(1, 8, whole=True)),
        ("blocks=range(1,6)", Interval(1, 5, whole=True)),
        ("blocks=range(1,10,2)", Interval(1, 9, whole=True, step=2)),
        ("width=tag(log,range(16,257))", Interval(16, 256, log=True, whole=True)),
        ("width=tag(log,range(16,257,16))", None),
        ("dropout=range(0,1,0.25)", None),
        ("seed=range(1)", None),
        ("lr=1,2", None),
        ("lr=1", None),
    ],
)
def test_what_is_an_interval(argument: str, interval: Interval | None) -> None:
    assert read(argument) == interval


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        ("++lr=interval(1,0.1)", r"^lr=interval\(1,0.1\): the first number must be below the second"),
        ("lr=tag(log,interval(0,1))", "a logarithmic interval begins above 0"),
        ("lr=tag(lgo,interval(0.1,1))", "the tag lgo is not known; allowed: log"),
    ],
)
def test_an_interval_that_is_none_is_refused(argument: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        read(argument)


@pytest.mark.parametrize(
    ("interval", "value", "text"),
    [
        (Interval(0.0, 0.5), 0.123456789, "0.1235"),
        (Interval(0.001, 1.0, log=True), 0.0347183, "0.0347"),
        (Interval(0.001, 1.0, log=True), 0.00123456, "0.001235"),
        (Interval(1e-6, 1e-2, log=True), 3.456789e-5, "3.46e-05"),
        (Interval(0.999, 0.9999), 0.99934127, "0.9993413"),
        (Interval(0.12344, 0.5), 0.12344, "0.12344"),  # rounded it would lie outside
        (Interval(100.0, 90000.0), 12345.678, "12350.0"),
        (Interval(1, 8, whole=True), 3, "3"),
    ],
)
def test_numbers_have_no_more_digits_than_a_thousandth_of_their_interval(
    interval: Interval, value: float, text: str
) -> None:
    assert interval.text(value) == text


def test_a_command_as_a_space() -> None:
    grid = Grid.parse(
        ["model=tiny_vgg", "++width=32,16", "++lr=tag(log,interval(0.01,1))", "blocks=range(1,4)", "seed=range(2)"]
    )
    space = Space.of(grid)
    assert list(space.dimensions) == ["blocks", "lr", "width"]
    assert space.repetitions == ((("seed", "0"),), (("seed", "1"),))
    assert space.axes == {"blocks": (), "++lr": (), "++width": ("16", "32"), "seed": ("0", "1")}
    assert space.scales == {"lr": "log"}
    assert space.cells({"lr": 0.123456, "width": "16", "blocks": 2}) == [
        ("model=tiny_vgg", "++lr=0.1235", "++width=16", "blocks=2", "seed=0"),
        ("model=tiny_vgg", "++lr=0.1235", "++width=16", "blocks=2", "seed=1"),
    ]
    # Every value of the list and both ends of the intervals, one at a time.
    assert [cell[1:4] for cell in space.probes()] == [
        ("blocks=1", "++lr=0.01", "++width=16"),
        ("blocks=3", "++lr=0.01", "++width=16"),
        ("blocks=1", "++lr=1.0", "++width=16"),
        ("blocks=1", "++lr=0.01", "++width=32"),
    ]


def test_axes_that_go_together_are_one_choice() -> None:
    grid = Grid.parse(["lr=0.1,0.2", "++batch_size=128,256", "dropout=interval(0,1)", "seed=0,1", "seed_init=5,6"])
    space = Space.of(grid.combined([["lr", "batch_size"], ["seed", "seed_init"]], ()))
    assert list(space.dimensions) == ["dropout", "lr+batch_size"]
    assert space.cells({"dropout": 0.5, "lr+batch_size": "0.2,256"}) == [
        ("dropout=0.5", "lr=0.2", "++batch_size=256", "seed=0", "seed_init=5"),
        ("dropout=0.5", "lr=0.2", "++batch_size=256", "seed=1", "seed_init=6"),
    ]


def test_the_same_space_is_the_same_however_it_is_typed() -> None:
    one = Space.of(Grid.parse(["width=16,32", "lr=interval(0,1)", "seed=1,0"]))
    other = Space.of(Grid.parse(["++seed=0,1", "++lr=interval(0.0,1)", "++width=32,16"]))
    assert one.description() == other.description()
    assert one.description() != Space.of(Grid.parse(["width=16,32", "lr=interval(0,2)", "seed=0,1"])).description()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["lr=1"], "search: nothing to choose"),
        (["seed=0,1"], "search: nothing to choose"),
        (["lr=1,2", "seed=interval(0,5)"], "seed: every trial of a search has all seeds; list them"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments: list[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Space.of(Grid.parse(arguments))


def test_a_search_leaves_out_no_cells_and_searches_no_seed() -> None:
    grid = Grid.parse(["lr=1,2", "seed=0,1"])
    with pytest.raises(ConfigError, match="exclude: a search has no cells to leave out"):
        Space.of(grid.combined((), [{"lr": 1, "seed": 0}]))
    with pytest.raises(ConfigError, match=r"zip=\[lr,seed\]: a seed repeats every trial"):
        Space.of(grid.combined(["lr", "seed"], ()))
