"""Penalties against numpy, their gradients against the formula, and zeros that are exact."""

import csv
import inspect
import json

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models.gates import SparseGate, count_gates
from cifarlab.training import penalties
from cifarlab.training.optimizers.factories import muon, sgd
from cifarlab.training.penalties import ElasticNet, NoPenalty, Penalty, SparseGates


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 5)
    )


def gated_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), SparseGate(4, threshold=0.2), nn.Conv2d(4, 2, 1), SparseGate(2, 0.2))


def test_no_penalty_adds_nothing():
    net = small_net()
    value = NoPenalty()(net)
    assert (value.shape, value.dtype, value.item()) == (torch.Size([]), torch.float32, 0.0)
    assert NoPenalty().report(net) == {}


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(
    ("layers", "positions"), [("output", [5]), ("all", [0, 3, 5]), (["0"], [0]), (["[03]", "0"], [0, 3])]
)
def test_elastic_net_is_its_formula_over_the_chosen_layers(alpha, layers, positions):
    net = small_net()
    penalty = ElasticNet(alpha=alpha, lambda_=0.3, layers=layers)
    weights = [net[position].weight.detach().numpy().astype(np.float64) for position in positions]
    l1 = sum(np.abs(weight).sum() for weight in weights)
    l2 = sum((weight**2).sum() for weight in weights)
    value = penalty(net)
    value.backward()
    assert value.item() == pytest.approx(0.3 * (alpha * l1 + (1 - alpha) * l2), rel=1e-5)
    for position, weight in zip(positions, weights, strict=True):
        gradient = 0.3 * (alpha * np.sign(weight) + (1 - alpha) * 2 * weight)
        np.testing.assert_allclose(net[position].weight.grad.numpy(), gradient, rtol=1e-5, atol=1e-7)
    for position in {0, 3, 5} - set(positions):
        assert net[position].weight.grad is None
    assert net[5].bias.grad is None
    assert net[1].weight.grad is None


def test_elastic_net_reports_its_value_and_the_share_of_zeros():
    net = small_net()
    with torch.no_grad():
        net[5].weight[:2] = 0
    penalty = ElasticNet(alpha=0.5, lambda_=0.01)
    report = penalty.report(net)
    assert report == {"penalty": pytest.approx(penalty(net).item()), "zero_weights": pytest.approx(12 / 30)}
    assert ElasticNet(alpha=0.5, lambda_=0.01, proximal=True).report(net) == pytest.approx(report)


def test_proximal_leaves_l1_out_of_the_loss():
    net = small_net()
    squares = (net[5].weight.detach().numpy() ** 2).sum()
    assert ElasticNet(alpha=0.75, lambda_=0.4, proximal=True)(net).item() == pytest.approx(0.1 * squares, rel=1e-5)


def test_the_proximal_step_is_a_soft_threshold_with_exact_zeros():
    net = small_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ElasticNet(alpha=0.5, lambda_=2.0, proximal=True).after_step(net, torch.optim.SGD(net.parameters(), lr=0.1))
    old, new = before["5.weight"].numpy(), net[5].weight.detach().numpy()
    np.testing.assert_array_equal(new == 0, np.abs(old) <= np.float32(0.1))
    assert 0 < (new == 0).mean() < 1
    np.testing.assert_allclose(new, np.sign(old) * np.maximum(np.abs(old) - 0.1, 0), atol=1e-7)
    for name in before.keys() - {"5.weight"}:
        assert torch.equal(before[name], net.state_dict()[name]), name


def test_without_proximal_the_step_is_left_alone():
    net = small_net()
    before = net[5].weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    ElasticNet(alpha=1.0, lambda_=10.0).after_step(net, optimizer)
    ElasticNet(alpha=0.0, lambda_=10.0, proximal=True).after_step(net, optimizer)
    NoPenalty().after_step(net, optimizer)
    assert torch.equal(net[5].weight, before)


def test_frozen_weights_are_not_thresholded():
    net = small_net()
    net[0].weight.requires_grad_(False)
    frozen, trained = net[0].weight.clone(), net[3].weight.detach().clone()
    ElasticNet(alpha=1.0, lambda_=1.0, layers="all", proximal=True).after_step(net, sgd(net, lr=0.1))
    assert torch.equal(net[0].weight, frozen)
    assert not torch.equal(net[3].weight, trained)


def test_each_weight_is_thresholded_with_the_rate_of_its_own_group():
    net = small_net()
    optimizer = muon(net, lr=0.24, head_lr=0.05, bias_lr=0.1)
    before = {position: net[position].weight.detach().numpy().copy() for position in (0, 3, 5)}
    ElasticNet(alpha=0.5, lambda_=0.6, layers="all", proximal=True).after_step(net, optimizer)
    for position, rate in ((0, 0.24), (3, 0.24), (5, 0.05)):
        shrunk = np.sign(before[position]) * np.maximum(np.abs(before[position]) - 0.3 * rate, 0)
        np.testing.assert_allclose(net[position].weight.detach().numpy(), shrunk, atol=1e-7)
        assert shrunk.any()


def test_a_run_hands_the_penalty_the_rates_of_the_step_it_follows(tiny_job, tmp_path, monkeypatch):
    """Under a schedule, and with an optimizer whose head has a rate of its own."""
    seen = []

    def record(self, net, optimizer):
        group = next(each for each in optimizer.param_groups if any(p is net.head.weight for p in each["params"]))
        seen.append(group["lr"])

    monkeypatch.setattr(ElasticNet, "after_step", record)
    tiny_job("penalty=elastic_net", "optimizer=muon", "++optimizer.head_lr=0.4", "schedule=linear").execute(tmp_path)
    assert seen == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_proximal_descent_reaches_the_lasso_that_scikit_learn_finds():
    sklearn_linear = pytest.importorskip("sklearn.linear_model")
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(60, 8))
    targets = inputs @ np.array([2.0, -1.0, 0.5, 0, 0, 0, 0, 0]) + 0.1 * generator.normal(size=60)
    lasso = sklearn_linear.Lasso(alpha=0.3, fit_intercept=False, tol=1e-10).fit(inputs, targets)

    net = nn.Linear(8, 1, bias=False).double()
    penalty = ElasticNet(alpha=1.0, lambda_=0.3, proximal=True)
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets)[:, None]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    for _ in range(500):
        optimizer.zero_grad()
        ((net(x) - y).square().mean() / 2 + penalty(net)).backward()
        optimizer.step()
        penalty.after_step(net, optimizer)
    found = net.weight.detach().numpy()[0]
    np.testing.assert_allclose(found, lasso.coef_, atol=1e-6)
    assert penalty.report(net)["zero_weights"] == (lasso.coef_ == 0).mean() > 0


def test_layers_that_are_not_there_are_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"layers=head\.\* fits no layer with weights: allowed are 0, 3, 5"):
        ElasticNet(layers=["3", "head.*"])(small_net())
    with pytest.raises(ValueError, match="layers=output needs a linear layer and Conv2d has none"):
        ElasticNet()(nn.Conv2d(3, 3, 1))


def test_penalties_can_be_checked_on_the_meta_device():
    with torch.device("meta"):
        net = small_net()
    assert ElasticNet(layers="all")(net).is_meta
    with pytest.raises(ValueError, match="fits no layer"):
        ElasticNet(layers=["nowhere"])(net)


def test_sparse_gates_are_charged_once_a_channel():
    net = gated_net()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([1.0, -2.0, 0.0, 2.0]))
        net[1].bias.copy_(torch.tensor([0.0, 0.0, 4.0, 0.0]))
        net[3].weight.fill_(0.1)
        net[3].bias.fill_(0.0)
    penalty = SparseGates(lambda_=0.5)
    # Strengths: root of (1 + 4 + 4 + 16) / 4 = 2.5 over four channels, and 0.1 over two.
    value = penalty(net)
    assert value.item() == pytest.approx(0.5 * (4 * 2.5 + 2 * 0.1))
    assert penalty.report(net) == {"penalty": pytest.approx(5.1)}
    assert count_gates(net) == {"gates": 2.0, "closed_gates": 1.0}
    value.backward()
    assert net[1].weight.grad[0].item() == pytest.approx(0.5 * 1.0 / 2.5)
    assert net[0].weight.grad is None


def test_a_run_logs_and_keeps_how_many_gates_closed(tiny_job, tmp_path):
    """Under plain SGD the strength of a gate falls by lr * lambda a step: from 1 below 0.1 within three epochs."""
    gated = ("model=resnet20", "++model.stages=[1,1]", "++model.gate=sparse", "schedule=constant", "++epochs=3")
    closing = (
        "penalty=sparse_gates",
        "++lambda=1.0",
        "++lr=0.1",
        "++optimizer.momentum=0",
        "++optimizer.nesterov=false",
    )
    tiny_job(*gated, *closing, "++data.val_fraction=0", "++figures=[]").execute(tmp_path)
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["gates"] for row in rows] == ["2.0"] * 3
    assert [row["closed_gates"] for row in rows] == ["0.0", "0.0", "2.0"]
    assert float(rows[0]["penalty"]) > float(rows[1]["penalty"])
    stored = json.loads((tmp_path / "result.json").read_text())["metrics"]
    assert (stored["gates"], stored["closed_gates"]) == (2.0, 2.0)
    assert stored["penalty"] == pytest.approx(float(rows[2]["penalty"]))


def test_a_run_logs_and_keeps_the_elastic_net(tiny_job, tmp_path):
    result = tiny_job("penalty=elastic_net", "++penalty.proximal=true", "++alpha=1.0", "++lambda=1.0").execute(tmp_path)
    (row,) = csv.DictReader((tmp_path / "history.csv").open())
    assert result.metrics["zero_weights"] == float(row["zero_weights"]) == 1.0
    assert result.metrics["penalty"] == float(row["penalty"]) == 0.0


def test_sparse_gates_need_gates():
    with pytest.raises(ValueError, match="has no gates"):
        SparseGates()(small_net())


def test_every_penalty_of_the_module_is_tested():
    defined = {each for each in vars(penalties).values() if inspect.isclass(each) and issubclass(each, Penalty)}
    assert defined == {Penalty, NoPenalty, ElasticNet, SparseGates}
