"""What was typed, taken apart; and the names that come of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.grid import Grid, cell_name
from cifarlab.sweeps.intervals import Interval
from cifarlab.sweeps.names import safe


def name_of(*arguments: str, model: str = "resnet", experiment: str | None = None) -> str:
    """The sweep's folder for a command."""
    return Grid.parse(arguments).name(model, experiment)


def test_lists_are_axes_and_single_values_are_fixed() -> None:
    grid = Grid.parse(
        ["model=resnet", "++kernel_size=2,3", "seed=range(3)", "lr=choice(0.1,0.2)", "++blocks=range(1,2)"]
    )
    assert grid.fixed == {"model": "resnet", "++blocks": "1"}
    assert grid.axes == {"++kernel_size": ("2", "3"), "seed": ("0", "1", "2"), "lr": ("0.1", "0.2")}


def test_the_cells_are_the_product_with_the_last_axis_fastest() -> None:
    cells = Grid.parse(["lr=1", "blocks=1,3", "seed=0,1"]).overrides()
    expected = [("lr=1", f"blocks={b}", f"seed={s}") for b, s in itertools.product((1, 3), (0, 1))]
    assert cells == expected
    assert Grid.parse(["lr=1"]).overrides() == [("lr=1",)]


@pytest.mark.parametrize(
    ("arguments", "fixed", "axes"),
    [
        (("blocks=1,3", "++blocks=2"), {"++blocks": "2"}, {}),
        (("blocks=2", "++blocks=1,3"), {}, {"++blocks": ("1", "3")}),
        (("++blocks=1,3", "++blocks=3,5"), {}, {"++blocks": ("3", "5")}),
        (("blocks=1,1,3",), {}, {"blocks": ("1", "3")}),
        (("a=true,false", "b=True", "c=null"), {"b": "true", "c": "null"}, {"a": ("true", "false")}),
    ],
)
def test_the_last_word_on_a_key_wins(
    arguments: tuple[str, ...], fixed: dict[str, str], axes: dict[str, tuple[str, ...]]
) -> None:
    """An experiment's axis and what is typed over it are the same key, with Hydra's ``++`` or without."""
    grid = Grid.parse(arguments)
    assert (grid.fixed, grid.axes) == (fixed, axes)


def test_intervals_are_kept_apart_from_lists() -> None:
    grid = Grid.parse(["lr=tag(log,interval(0.001,1))", "++blocks=range(1,6)", "width=16,32", "seed=range(0,1,0.5)"])
    assert grid.intervals == {"lr": Interval(0.001, 1, log=True), "++blocks": Interval(1, 5, whole=True)}
    assert grid.axes == {"++blocks": ("1", "2", "3", "4", "5"), "width": ("16", "32"), "seed": ("0.0", "0.5")}
    assert next(grid.samples()) == ("++blocks=1", "width=16", "seed=0.0", "lr=0.001")
    assert Grid.parse(["lr=interval(0,1)", "++lr=1,2"]).intervals == {}
    assert Grid.parse(["lr=1,2", "++lr=interval(0,1)"]).axes == {}


def cells_of(*arguments: str, zip: object = (), exclude: object = ()) -> list[str]:
    """The cells of a command, each as one text."""
    return [" ".join(cell) for cell in Grid.parse(arguments).combined(zip, exclude).overrides()]


def test_zipped_axes_go_together_value_by_value() -> None:
    axes = ("lr=0.1,0.2,0.4", "seed=0,1", "batch_size=128,256,512")
    assert cells_of(*axes, zip=["lr", "batch_size"]) == [
        f"lr={lr} batch_size={size} seed={seed}" for lr, size in ((0.1, 128), (0.2, 256), (0.4, 512)) for seed in (0, 1)
    ]
    groups = [["lr", "batch_size"], ["width", "model.dropout"]]
    cells = cells_of("++lr=1,2", "batch_size=3,4", "width=5,6,7", "++model.dropout=0,0.1,0", zip=groups)
    assert cells == [
        f"++lr={lr} batch_size={size} width={width} ++model.dropout={dropout}"
        for lr, size in ((1, 3), (2, 4))
        for width, dropout in ((5, 0), (6, 0.1), (7, 0))
    ]


def test_a_group_of_axes_has_a_name_for_the_tables() -> None:
    grid = Grid.parse(["++model.blocks=1,2", "lr=3,4", "width=5,6"])
    assert grid.combined([{"net": ["model.blocks", "lr"]}], ()).names == {"net": ("++model.blocks", "lr")}
    both = grid.combined([{"net": ["model.blocks", "lr"]}, "width"], ())
    assert (both.names, both.size) == ({"net": ("++model.blocks", "lr")}, 4)
    assert grid.combined(["blocks", "lr"], ()).names == {"blocks+lr": ("++model.blocks", "lr")}
    assert grid.combined((), ()).names == {}


def test_repeated_values_of_a_zipped_axis_count_and_repeated_pairs_do_not() -> None:
    zipped = {"zip": ["lr", "blocks"]}
    assert cells_of("lr=1,1,2", "blocks=3,5,5", **zipped) == ["lr=1 blocks=3", "lr=1 blocks=5", "lr=2 blocks=5"]
    assert cells_of("lr=1,1", "blocks=3,5", **zipped) == ["lr=1 blocks=3", "lr=1 blocks=5"]
    assert cells_of("lr=1,1,2", "blocks=3,3,5", **zipped) == ["lr=1 blocks=3", "lr=2 blocks=5"]
    assert cells_of("lr=1,2", "blocks=3", **zipped) == ["blocks=3 lr=1", "blocks=3 lr=2"]
    assert cells_of("lr=1", "blocks=3", "seed=0,1", **zipped) == ["lr=1 blocks=3 seed=0", "lr=1 blocks=3 seed=1"]
    grid = Grid.parse(["lr=1,1", "blocks=3,5"]).combined(["lr", "blocks"], ())
    assert (grid.fixed, grid.axes) == ({}, {"lr": ("1",), "blocks": ("3", "5")})


@pytest.mark.parametrize(
    ("zip", "fault"),
    [
        (
            ["lr", "blocks"],
            r"zip=\[lr,blocks\].*: axes that go together need equally .*; lr has 3, blocks has 2",
        ),
        (["lr", "bloks"], "bloks is no axis; axes: lr, blocks"),
        (["lr", "dropout"], "dropout is an interval, only lists can go together"),
        ([["lr", "epochs"], ["epochs", "lr"]], "zip: epochs, lr stands in it more than once"),
    ],
)
def test_a_zip_that_does_not_fit_is_refused(zip: object, fault: str) -> None:
    grid = Grid.parse(["lr=1,2,3", "blocks=1,3", "width=4", "dropout=interval(0,1)", "epochs=1,2,3"])
    with pytest.raises(ConfigError, match=fault):
        grid.combined(zip, ())  # type: ignore[arg-type]


def test_exclusions_leave_cells_out() -> None:
    axes = ("++blocks=1,3,5", "kernel_size=3,5", "++seed=0,1", "width=4")
    every = cells_of(*axes)
    assert len(every) == 12
    left = [cell for cell in every if "blocks=5 kernel_size=5" not in cell]
    assert cells_of(*axes, exclude=[{"blocks": 5, "kernel_size": 5}]) == left
    assert len(left) == 10
    both = [
        cell for cell in left if "blocks=1 kernel_size=5 ++seed=1" not in cell and "kernel_size=3 ++seed=0" not in cell
    ]
    exclude = [
        {"blocks": 5, "kernel_size": 5},
        {"seed": 1, "blocks": 1, "model.kernel_size": "5"},
        {"kernel_size": 3, "seed": 0, "width": 4},
    ]
    assert cells_of(*axes, exclude=exclude) == both
    assert Grid.parse(axes).combined((), exclude).left_out == 12 - len(both) == 6
    several = cells_of(*axes, exclude=[{"blocks": [1, 3], "kernel_size": 5}])
    assert several == [cell for cell in every if "kernel_size=3" in cell or "blocks=5" in cell]


@pytest.mark.parametrize(
    ("typed", "excluded", "same"),
    [
        ("1e-1", 0.1, True),
        ("0.10", "0.1", True),
        ("5", "5", True),
        ("5.0", 5, True),
        ("'5'", 5, True),
        ("true", True, True),
        ("1", True, False),
        ("null", None, True),
        ("relu", "relu", True),
        ("[1,2]", [[1, 2]], True),
        ("[1,2]", [1, 2], True),
        ("[1,2]", [1, 3], False),
        ("{a:1}", {"a": 1.0}, True),
    ],
)
def test_values_are_compared_by_what_they_mean(typed: str, excluded: object, same: bool) -> None:
    grid = Grid.parse([f"knob={typed},other", "seed=0,1"])
    if not same:
        with pytest.raises(ConfigError, match="no cell has knob="):
            grid.combined((), [{"knob": excluded}])
    else:
        assert grid.combined((), [{"knob": excluded}]).overrides() == [
            ("knob=other", "seed=0"),
            ("knob=other", "seed=1"),
        ]


@pytest.mark.parametrize(
    ("exclude", "fault"),
    [
        ([{"blocks": 7, "seed": 0}], r"exclude=\{blocks:7,seed:0\}: no cell has blocks=7; there are blocks=1,3"),
        ([{"dropout": 0.1}], r"exclude=\{dropout:0.1\}: the sweep sets no dropout; there are width, blocks, seed, lr"),
        ([{}], "names no key; there are width, blocks, seed, lr"),
        ([{"blocks": 1, "lr": 2}], r"no cell has all of these values \(exclude=\[\] does without it\)"),
        ([{"blocks": [1, 3]}], "exclude: leaves none of 4 cells"),
    ],
)
def test_an_exclusion_that_fits_no_cell_or_all_is_refused(exclude: list[dict[str, object]], fault: str) -> None:
    grid = Grid.parse(["blocks=1,3", "seed=0,1", "lr=1,2", "width=4"])
    with pytest.raises(ConfigError, match=fault):
        grid.combined(["blocks", "lr"], exclude)


def test_what_is_typed_for_the_grid_reaches_no_cell() -> None:
    grid = Grid.parse(["++zip=[lr,blocks]", "++lr=1,2", "++exclude={seed:0}", "++exclude=[{seed:1},{lr:2,seed:[0,1]}]"])
    assert grid.own == {"zip": ["lr", "blocks"], "exclude": [{"seed": 1}, {"lr": 2, "seed": [0, 1]}]}
    assert (grid.fixed, grid.axes) == ({}, {"++lr": ("1", "2")})


@pytest.mark.parametrize(
    ("argument", "fault"),
    [
        ("++zip=lr,blocks", r"zip=lr,blocks: brackets are needed"),
        # What bash makes of exclude={blocks:5,seed:1}: two arguments without braces.
        ("++exclude=blocks:5", "exclude=blocks:5: a list or a mapping is needed; the shell takes braces apart"),
    ],
)
def test_brackets_and_braces_that_were_lost_are_missed(argument: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Grid.parse([argument])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("model=resnet", "++kernel_size=2,3,4,5"), "resnet"),
        (("model=resnet", "++kernel_size=2,3", "++limit=512", "++epochs=1"), "resnet+epochs-1+limit-512"),
        (("++seed=0,1",), "resnet"),
        (("++seed=3", "++lr=0.1,0.2"), "resnet+seed-3"),
        (("++model.kernel_size=5", "++lr=1,2"), "resnet+model.kernel_size-5"),
        (("data=digits", "augment=[crop,flip]", "++lr=1,2"), "resnet+augment-crop_flip+data-digits"),
        (("model=resnet,tiny_vgg",), "models"),
        (
            ("++seed=0,1", "++sweep=x", "++plan=true", "++fresh=true", "++skip_invalid=true", "++figures=[]",
             "logger=none", "++data.root='/a,b'", "++checkpoints=none", "++trainer.devices=2",
             "++trainer.progress_bar=false", "hydra.verbose=true", "hydra/launcher=basic", "++allow=[mine]"),
            "resnet",
        ),
    ],
)  # fmt: skip
def test_a_sweep_is_named_by_what_is_not_swept_and_counts(arguments: tuple[str, ...], name: str) -> None:
    assert name_of(*arguments) == name


def test_a_name_that_no_file_system_takes_is_cut() -> None:
    fixed = [f"++some.long.key_{number}=0.12345" for number in range(12)]
    one, other = name_of(*fixed, "++lr=1"), name_of(*fixed, "++lr=2")
    assert max(len(one), len(other)) < 220
    assert one != other


def test_an_experiment_gives_its_name() -> None:
    assert name_of("experiment=grid", "++blocks=1,3", "++epochs=2", experiment="grid") == "grid+epochs-2"


@pytest.mark.parametrize(
    ("overrides", "axes", "name"),
    [
        (("++seed=0", "++kernel_size=2", "lr=1", "++blocks=3"), ("blocks", "kernel_size", "seed"),
         "blocks-3+kernel_size-2+seed-0"),
        (("++lr=0.1",), (), "resnet"),
        (("++lr=1e-3", "++model.widths=[1,2]"), ("lr", "model.widths"), "lr-1e-3+model.widths-1_2"),
        (("model=tiny_vgg", "++seed=1"), ("model", "seed"), "model-tiny_vgg+seed-1"),
        (("augment=[]",), ("augment",), "augment-none"),
        (("++lr=0.1",), ("++lr",), "lr-0.1"),
    ],
)  # fmt: skip
def test_a_cell_is_named_by_its_swept_overrides_sorted(
    overrides: tuple[str, ...], axes: tuple[str, ...], name: str
) -> None:
    assert cell_name(overrides, axes, fallback="resnet") == name


@given(st.text(max_size=40))
def test_names_pass_through_a_shell_a_url_and_hydra(text: str) -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    name = safe(text)
    assert name
    assert set(name) <= allowed


TINY = ("data=digits", "limit=60", "width=4", "blocks=1", "trainer.accelerator=cpu", "logger=none", "plan=true")


def planned(out: str) -> list[str]:
    """The names of the cells in a plan."""
    return [line.split()[0] for line in out.splitlines() if line.endswith("missing ")]


def test_zip_and_exclude_from_the_command_line(train_py: Callable[..., Any]) -> None:
    command = ("-m", *TINY, "lr=0.1,0.2,0.4", "batch_size=16,32,60", "seed=0,1", "zip=[lr,batch_size]")
    ended = train_py(*command, "exclude={lr:4e-1,seed:1}")
    assert (ended.code, ended.err) == (0, "")
    names = [
        f"batch_size-{size}+lr-{lr}+seed-{seed}" for size, lr in ((16, 0.1), (32, 0.2), (60, 0.4)) for seed in (0, 1)
    ]
    assert planned(ended.out) == names[:-1]
    assert "exclude: 1 of 6 cells left out" in ended.out
    ended = train_py(*command[:-2], "zip=[lr,batch_size]", "exclude=[{seed:1}]")
    assert (ended.code, "the sweep sets no seed; there are" in ended.err) == (2, True)


def test_a_named_group_of_an_experiment_is_replaced_too(train_py: Callable[..., Any]) -> None:
    command = ("experiment=superconvergence", "data=digits", "plan=true", "schedule=step,cosine", "epochs=10,50")
    assert len(planned(train_py(*command, "lr=0.05,0.2").out)) == 2
    assert len(planned(train_py(*command, "lr=0.05,0.2", "zip=[]").out)) == 8
    assert len(planned(train_py(*command, "lr=0.05,0.2", "zip={length:[epochs,lr]}").out)) == 4


def test_zip_and_exclude_of_an_experiment_are_replaced_by_what_is_typed(
    train_py: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "pairs.yaml").write_text(
        "# @package _global_\nzip: [lr, dropout]\nexclude: [{lr: 0.1, seed: 1}]\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      lr: 0.1,0.2\n      dropout: 0,0.1\n      seed: 0,1\n"
    )
    command = ("--config-dir", str(tmp_path / "own"), "experiment=pairs", *TINY)
    own = planned(train_py(*command).out)
    assert own == ["dropout-0+lr-0.1+seed-0", "dropout-0.1+lr-0.2+seed-0", "dropout-0.1+lr-0.2+seed-1"]
    assert planned(train_py(*command, "exclude={lr:0.2}").out) == ["dropout-0+lr-0.1+seed-0", "dropout-0+lr-0.1+seed-1"]
    assert len(planned(train_py(*command, "exclude=[]", "zip=[]").out)) == 8
    one = planned(train_py(*command, "dropout=0.1").out)  # a single value goes with each of the other axis
    assert one == ["lr-0.1+seed-0", "lr-0.2+seed-0", "lr-0.2+seed-1"]
    ended = train_py(*command, "lr=0.1,0.2,0.4")
    assert ended.code == 2
    assert ended.err.startswith("zip=[lr,dropout] (zip=[] does without it): axes that go together need equally many")
