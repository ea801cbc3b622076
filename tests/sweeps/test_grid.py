"""What was typed, taken apart; and the names that come of it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.configure import ConfigError
from cifarlab.sweeps.grid import Grid, cell_name, safe


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


def test_an_interval_is_no_list() -> None:
    with pytest.raises(ConfigError, match=r"lr=interval\(0,1\): a list of values is needed"):
        Grid.parse(["lr=interval(0,1)"])


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
