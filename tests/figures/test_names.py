"""The registry of figures."""

import pytest

from cifarlab.figures import OF_A_SWEEP, is_known, sweep_figures


def test_a_sweeps_figures_are_named_by_their_axes_in_any_order():
    found = sweep_figures(["blocks", "model/depth"])
    assert list(found) == [
        "curves", "cost", "search", "marginal_blocks", "marginal_model-depth", "heatmap_blocks_model-depth",
        "heatmap_model-depth_blocks",
    ]  # fmt: skip
    assert found["heatmap_model-depth_blocks"] == ("heatmap", ("model/depth", "blocks"))
    assert OF_A_SWEEP == ("curves", "cost", "search", "marginal_X", "heatmap_X_Y", "grid3d_X_Y_Z")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("confusion", True), ("curves", True), ("heatmap_a_b", True), ("marginal_a", True), ("grid3d_a_b_c", True),
        ("heatmap_a", False), ("grid3d_a_b", False), ("marginal", False), ("curves_a", False), ("samples", False),
    ],
)  # fmt: skip
def test_names_that_no_run_and_no_sweep_draws_are_unknown(name, known):
    assert is_known(name) == known
