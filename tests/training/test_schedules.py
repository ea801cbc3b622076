"""Learning rates at named moments against closed formulas, and schedules that go on from a checkpoint."""

import inspect
import io
import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from cifarlab.training import schedules
from cifarlab.training.optimizers.factories import adamw, muon, sgd
from cifarlab.training.schedules import Budget

BUDGET = Budget(epochs=10, steps_per_epoch=20)
# Every schedule, with arguments that make it move within the budget.
CASES = {
    "constant": {},
    "step": {"step_epochs": 3, "factor": 0.5},
    "multi_step": {"milestones": [2, 0.5, 7], "factor": 0.1},
    "cosine": {"warmup_epochs": 2, "final_fraction": 0.1},
    "linear": {"warmup_epochs": 0.2},
    "plateau": {"patience": 1, "factor": 0.5},
    "cyclical": {"half_cycle_epochs": 2, "shape": "triangular2"},
    "one_cycle": {"cycle_momentum": True},
}


def make(name: str, budget: Budget = BUDGET, net: nn.Module | None = None, **arguments):
    optimizer = sgd(net or nn.Linear(2, 2), lr=0.4)
    return optimizer, getattr(schedules, name)(optimizer, budget, **arguments)


def tick(config: dict, loss: float) -> None:
    if isinstance(config["scheduler"], ReduceLROnPlateau):
        config["scheduler"].step(loss)
    else:
        config["scheduler"].step()


def rates(name: str, budget: Budget = BUDGET, **arguments) -> list[float]:
    """The lr that each tick of the run uses, and the one after the last."""
    optimizer, config = make(name, budget, **arguments)
    ticks = budget.total_steps if config["interval"] == "step" else budget.epochs
    seen = []
    for index in range(ticks):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        tick(config, loss=1.0 / (1 + index))
    return [*seen, optimizer.param_groups[0]["lr"]]


def test_every_schedule_of_the_module_is_tested():
    defined = {
        name
        for name, function in vars(schedules).items()
        if inspect.isfunction(function) and function.__module__ == schedules.__name__ and not name.startswith("_")
    }
    assert defined == set(CASES)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("optimizer_of", [sgd, adamw, muon])
def test_a_resumed_schedule_goes_on_to_the_digit(name, optimizer_of):
    """Saved in mid-run and loaded with weights_only, lr and momentum of every group are those of an unbroken run."""

    def settings(optimizer: torch.optim.Optimizer) -> list[tuple]:
        return [(group["lr"], group.get("momentum"), group.get("betas")) for group in optimizer.param_groups]

    def build():
        net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        optimizer = optimizer_of(net)
        return optimizer, getattr(schedules, name)(optimizer, BUDGET, **CASES[name])

    def run(optimizer, config, start: int, stop: int) -> list:
        seen = []
        for index in range(start, stop):
            optimizer.step()
            tick(config, loss=2.0 if index > 4 else 3.0 - index)
            seen.append(settings(optimizer))
        return seen

    total, cut = (BUDGET.total_steps, 57) if build()[1]["interval"] == "step" else (BUDGET.epochs, 7)
    straight = run(*build(), 0, total)
    optimizer, config = build()
    run(optimizer, config, 0, cut)
    buffer = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": config["scheduler"].state_dict()}, buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    optimizer, config = build()
    optimizer.load_state_dict(state["optimizer"])
    config["scheduler"].load_state_dict(state["schedule"])
    assert run(optimizer, config, cut, total) == straight[cut:]
    assert name == "constant" or straight[cut:] != [straight[cut]] * (total - cut)


def test_constant():
    assert rates("constant") == [0.4] * 11


def test_step_falls_every_so_many_epochs():
    seen = rates("step", step_epochs=3, factor=0.5)
    assert seen[:200] == pytest.approx([0.4 * 0.5 ** (index // 60) for index in range(200)])
    assert rates("step", step_epochs=0.3, factor=0.5) == seen


def test_multi_step_falls_at_epochs_and_at_shares_of_the_run():
    seen = rates("multi_step", milestones=[7, 0.5, 2], factor=0.1)
    falls = {index: seen[index] / seen[index - 1] for index in range(1, 201) if seen[index] != seen[index - 1]}
    assert falls == pytest.approx({40: 0.1, 100: 0.1, 140: 0.1})
    assert seen[0] == 0.4


def test_multi_step_default_is_he_et_al():
    seen = rates("multi_step")
    assert [seen[index] for index in (0, 99, 100, 149, 150, 199)] == pytest.approx([0.4, 0.4, 0.04, 0.04, 0.004, 0.004])


def test_cosine_with_warm_up_follows_its_formula():
    seen = rates("cosine", warmup_epochs=2, final_fraction=0.1)
    rise = [0.4 * (index + 1) / 41 for index in range(40)]
    fall = [0.04 + 0.36 * (1 + math.cos(math.pi * index / 160)) / 2 for index in range(161)]
    assert seen == pytest.approx(rise + fall)
    assert seen[40] == pytest.approx(0.4)
    assert seen[120] == pytest.approx(0.22)


@pytest.mark.parametrize(("per", "ticks"), [("step", 200), ("epoch", 10)])
def test_cosine_without_warm_up_is_torchs(per, ticks):
    optimizer = sgd(nn.Linear(2, 2), lr=0.4)
    reference = CosineAnnealingLR(optimizer, T_max=ticks, eta_min=0.04)
    expected = []
    for _ in range(ticks):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates("cosine", final_fraction=0.1, per=per)[:-1] == pytest.approx(expected, rel=1e-9)


def test_linear_is_a_triangle():
    seen = rates("linear", warmup_epochs=0.25)
    assert [seen[index] for index in (0, 24, 50, 125, 199, 200)] == pytest.approx(
        [0.4 / 51, 0.4 * 25 / 51, 0.4, 0.2, 0.4 / 150, 0.0]
    )
    assert rates("linear", final_fraction=0.5)[::100] == pytest.approx([0.4, 0.3, 0.2])


def test_plateau_waits_for_its_patience_and_stops_at_min_lr():
    optimizer, config = make("plateau", factor=0.1, patience=2, min_lr=0.01)
    assert (config["interval"], config["monitor"]) == ("epoch", "val/loss")
    seen = []
    for loss in [1.0, 0.5, 0.5, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4]:
        config["scheduler"].step(loss)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.4] * 4 + [0.04] * 4 + [0.01] * 2)
    assert make("plateau", monitor="train/loss")[1]["monitor"] == "train/loss"


def test_cyclical_is_smiths_triangle():
    seen = rates("cyclical", half_cycle_epochs=2, base_fraction=0.25)
    expected = [0.1 + 0.3 * (1 - abs(index / 40 - 2 * (index // 80) - 1)) for index in range(201)]
    assert seen == pytest.approx(expected)
    halved = rates("cyclical", half_cycle_epochs=2, base_fraction=0.25, shape="triangular2")
    assert [halved[index] for index in (0, 40, 80, 120, 160, 200)] == pytest.approx([0.1, 0.4, 0.1, 0.25, 0.1, 0.175])


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("budget", [BUDGET, Budget(1, 20), Budget(10, 1)])
def test_one_cycle_rises_for_its_share_of_the_run_and_falls_for_the_rest(shape, budget):
    total = budget.total_steps
    peak = 0.3 * total
    between = {
        "linear": lambda start, end, share: start + (end - start) * share,
        "cosine": lambda start, end, share: end + (start - end) * (1 + math.cos(math.pi * share)) / 2,
    }[shape]
    expected = [
        between(0.04, 0.4, index / peak) if index <= peak else between(0.4, 0.0004, (index - peak) / (total - peak))
        for index in range(total + 1)
    ]
    seen = rates("one_cycle", budget, peak_fraction=0.3, start_divider=10, final_divider=100, shape=shape)
    assert seen == pytest.approx(expected)


def test_one_cycle_can_move_momentum_against_the_lr():
    optimizer, config = make("one_cycle", peak_fraction=0.5, cycle_momentum=True)
    seen = []
    for _ in range(200):
        seen.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        config["scheduler"].step()
    assert [seen[0], seen[50], seen[100], seen[150]] == pytest.approx([0.95, 0.9, 0.85, 0.9])
    optimizer, _ = make("one_cycle")
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle"])
def test_per_epoch_holds_the_lr_of_the_epochs_first_step(name):
    assert make(name, per="epoch")[1]["interval"] == "epoch"
    by_epoch, by_step = rates(name, per="epoch"), rates(name, per="step")
    assert by_epoch == pytest.approx(by_step[::20], abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_each_group_keeps_its_own_peak(name):
    optimizer = muon(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), lr=0.2, head_lr=0.5, bias_lr=0.1)
    config = getattr(schedules, name)(optimizer, BUDGET, **CASES[name])
    for index in range(7):
        lrs = [group["lr"] for group in optimizer.param_groups]
        assert [lr / lrs[0] for lr in lrs] == pytest.approx([1.0, 2.5, 0.5])
        optimizer.step()
        tick(config, loss=1.0 + index)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("budget", [Budget(1, 1), Budget(1, 2), Budget(2, 1), Budget(1, 3)])
def test_a_run_of_a_few_steps_works_with_every_default(name, budget):
    seen = rates(name, budget)
    assert all(0 <= lr <= 0.4 for lr in seen)
    assert seen[0] > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("step", {"step_epochs": 10}, "step_epochs=10 does not end before epochs=10: allowed are less than 10 epochs"),
        ("multi_step", {"milestones": [5, 12.5]}, "milestones=12.5 does not end before epochs=10"),
        ("cosine", {"warmup_epochs": 11}, "warmup_epochs=11 does not end before epochs=10"),
        ("linear", {"warmup_epochs": 10, "per": "epoch"}, "warmup_epochs=10 does not end before epochs=10"),
        ("cyclical", {"half_cycle_epochs": 20}, "half_cycle_epochs=20 does not end before epochs=10"),
    ],
)
def test_a_part_longer_than_the_run_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(name, **arguments)


def test_budget_counts_steps():
    assert BUDGET.total_steps == 200
    assert (BUDGET.ticks("step"), BUDGET.ticks("epoch")) == (200, 10)
    assert [BUDGET.part("x", length) for length in (0, 0.5, 1, 2.5, 0.999)] == [0, 100, 20, 50, 199]
