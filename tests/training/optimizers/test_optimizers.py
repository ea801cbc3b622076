"""Optimizers against plain tensor arithmetic, and what a checkpoint keeps of them."""

import copy
import inspect
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.training import optimizers
from cifarlab.training.optimizers.muon import Muon, orthogonalize
from cifarlab.training.optimizers.parameter_groups import muon_parts

MAKERS = {
    "sgd": optimizers.sgd,
    "adam": optimizers.adam,
    "adamw": optimizers.adamw,
    "muon": optimizers.muon,
    "timm_optimizer": optimizers.timm_optimizer,
}


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()


def saved_and_loaded(state: dict) -> dict:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_every_optimizer_of_the_module_is_tested():
    assert {name for name, function in vars(optimizers).items() if inspect.isfunction(function)} == set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_optimizer_goes_on_to_the_digit(name):
    make = MAKERS[name]
    straight = small_net()
    train(straight, make(straight), range(6))

    first = small_net()
    optimizer = make(first)
    train(first, optimizer, range(3))
    state = saved_and_loaded({"net": first.state_dict(), "optimizer": optimizer.state_dict()})
    second = small_net(seed=1)
    second.load_state_dict(state["net"])
    optimizer = make(second)
    optimizer.load_state_dict(state["optimizer"])
    train(second, optimizer, range(3, 6))

    for (key, expected), got in zip(straight.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(expected, got), key
    assert not torch.equal(straight[0].weight, small_net()[0].weight)


@pytest.mark.parametrize("name", MAKERS)
def test_frozen_parameters_are_left_out_and_the_others_appear_once(name):
    net = small_net()
    net[0].weight.requires_grad_(False)
    optimizer = MAKERS[name](net)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    expected = [id(parameter) for parameter in net.parameters() if parameter.requires_grad]
    assert sorted(held) == sorted(expected)
    with pytest.raises(ValueError, match="nothing to train"):
        MAKERS[name](net.requires_grad_(False))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "timm_optimizer"])
def test_only_matrices_and_filters_decay(name):
    net = small_net()
    decay = {
        id(parameter): group["weight_decay"]
        for group in MAKERS[name](net, weight_decay=0.25).param_groups
        for parameter in group["params"]
    }
    assert [decay[id(parameter)] for parameter in net.parameters()] == [0.25, 0, 0, 0.25, 0, 0.25, 0]
    everything = MAKERS[name](net, weight_decay=0.25, decay_norm_and_bias=True)
    assert {group["weight_decay"] for group in everything.param_groups} == {0.25}


def test_sgd_step_is_nesterov_with_l2():
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, 2.0)
    nn.init.constant_(net.bias, 1.0)
    optimizer = optimizers.sgd(net, lr=0.1, momentum=0.9, weight_decay=0.5)
    weight, bias, weight_velocity, bias_velocity = 2.0, 1.0, 0.0, 0.0
    for _ in range(3):
        optimizer.zero_grad()
        (3 * net(torch.ones(1, 1))).sum().backward()
        optimizer.step()
        weight_gradient = 3 + 0.5 * weight
        weight_velocity = 0.9 * weight_velocity + weight_gradient
        bias_velocity = 0.9 * bias_velocity + 3
        weight -= 0.1 * (weight_gradient + 0.9 * weight_velocity)
        bias -= 0.1 * (3 + 0.9 * bias_velocity)
    assert net.weight.item() == pytest.approx(weight, rel=1e-6)
    assert net.bias.item() == pytest.approx(bias, rel=1e-6)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="nesterov=true needs momentum above 0"):
        optimizers.sgd(small_net(), momentum=0.0)


@pytest.mark.parametrize(("name", "expected"), [("adam", 2 - 0.01), ("adamw", 2 * (1 - 0.01 * 0.5) - 0.01)])
def test_first_adam_step_is_the_lr_and_adamw_decays_apart_from_it(name, expected):
    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, 2.0)
    optimizer = MAKERS[name](net, lr=0.01, weight_decay=0.5, eps=1e-12)
    net(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert net.weight.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 6, 24), (1, 24, 6), (3, 8, 8)])
def test_orthogonalize_keeps_singular_vectors_and_evens_their_values(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = orthogonalize(matrices, steps=5)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    for index in range(shape[0]):
        value = values[index] / values[index].norm()
        for _ in range(5):
            value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
        assert value.min() > 0.3
        assert value.max() < 1.3
        torch.testing.assert_close(result[index], left[index] * value @ right[index], atol=1e-5, rtol=1e-5)


def plain_muon_direction(gradients: list[np.ndarray], momentum: float, steps: int) -> np.ndarray:
    """The last update of a filter, from all its gradients, in double precision by the singular values."""
    buffer = np.zeros_like(gradients[0])
    for gradient in gradients:
        buffer = momentum * buffer + gradient
    direction = (gradients[-1] + momentum * buffer).reshape(len(buffer), -1)
    left, values, right = np.linalg.svd(direction, full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return ((left * values) @ right).reshape(buffer.shape)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("normalize", [True, False])
def test_muon_steps_filters_as_the_plain_formula(normalize, memory_format):
    net = nn.Sequential(nn.Conv2d(2, 16, 3, bias=False), nn.Conv2d(16, 4, 1, bias=False)).to(
        memory_format=memory_format
    )
    optimizer = optimizers.muon(
        net, lr=0.1, momentum=0.6, normalize=normalize, newton_schulz_dtype="float32", weight_decay=0.02
    )
    generator = torch.Generator().manual_seed(1)
    expected = [parameter.detach().double().numpy().copy() for parameter in net.parameters()]
    history: list[list[np.ndarray]] = [[], []]
    for _ in range(3):
        for index, parameter in enumerate(net.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            history[index].append(parameter.grad.double().numpy())
            weight = expected[index]
            outputs, inputs = len(weight), weight[0].size
            if normalize:
                weight = weight * math.sqrt(outputs) / np.linalg.norm(weight)
                stretch = 1.0
            else:
                weight = weight * (1 - 0.02)
                stretch = math.sqrt(max(1, outputs / inputs))
            expected[index] = weight - 0.1 * stretch * plain_muon_direction(history[index], 0.6, 3)
        optimizer.step()
    for parameter, weight in zip(net.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, atol=2e-5)


def test_muon_without_normalisation_is_torchs_muon_on_matrices():
    ours, theirs = (nn.Sequential(nn.Linear(12, 6, bias=False), nn.Linear(6, 3)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizer = optimizers.muon(
        ours,
        lr=0.02,
        momentum=0.95,
        newton_schulz_steps=5,
        newton_schulz_dtype="bfloat16",
        normalize=False,
        weight_decay=0.002,
    )
    reference = torch.optim.Muon([theirs[0].weight], lr=0.02, momentum=0.95, weight_decay=0.1)
    start = ours[0].weight.detach().clone()
    for step in range(4):
        gradient = torch.randn(6, 12, generator=torch.Generator().manual_seed(step))
        ours[0].weight.grad = gradient.clone()
        theirs[0].weight.grad = gradient.clone()
        optimizer.step()
        reference.step()
    # Eight bits of mantissa in the products, where the two scale the momentum differently.
    torch.testing.assert_close(ours[0].weight, theirs[0].weight, atol=2e-3, rtol=0)
    assert (ours[0].weight - start).abs().max() > 0.02


def test_muon_splits_filters_head_and_rest():
    net = small_net()
    parts = muon_parts(net)
    assert [id(each) for each in parts.matrices] == [id(net[0].weight), id(net[2].weight)]
    assert [id(each) for each in parts.head] == [id(net[6].weight)]
    assert len(parts.rest) == 4
    groups = optimizers.muon(net, lr=0.2, bias_lr=0.05, head_lr=0.5, weight_decay=0.001).param_groups
    assert [(group["rule"], group["lr"]) for group in groups] == [("muon", 0.2), ("sgd", 0.5), ("sgd", 0.05)]
    assert [group["lr"] * group["weight_decay"] for group in groups] == pytest.approx([0.001, 0.001, 0.0])


def test_muon_steps_head_and_biases_as_torchs_sgd():
    ours = small_net()
    theirs = copy.deepcopy(ours)
    optimizer = optimizers.muon(ours, bias_lr=0.05, head_lr=0.5, weight_decay=0.01, decay_norm_and_bias=True)
    reference = torch.optim.SGD(
        [
            {"params": [theirs[6].weight], "lr": 0.5, "weight_decay": 0.01 / 0.5},
            {"params": [theirs[1].weight, theirs[6].bias], "lr": 0.05, "weight_decay": 0.01 / 0.05},
        ],
        lr=1.0,
        momentum=0.85,
        nesterov=True,
    )
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
    for mine, other in [(ours[6].weight, theirs[6].weight), (ours[1].weight, theirs[1].weight)]:
        torch.testing.assert_close(mine, other, atol=1e-7, rtol=1e-6)
    assert torch.equal(ours[6].bias, theirs[6].bias)


def test_normalised_muon_does_not_depend_on_the_scale_of_the_loss():
    weights = []
    for scale in (1.0, 1000.0):
        net = small_net()
        optimizer = optimizers.muon(net, newton_schulz_dtype="float32")
        images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        (net(images).square().mean() * scale).backward()
        optimizer.step()
        weights.append(net[2].weight.detach())
    torch.testing.assert_close(weights[0], weights[1], atol=1e-3, rtol=0)
    assert (weights[0] - small_net()[2].weight).abs().max() > 0.05


def test_muon_returns_the_closures_loss_and_skips_what_has_no_gradient():
    net = small_net()
    optimizer = optimizers.muon(net)
    assert isinstance(optimizer, Muon)
    before = net[2].weight.detach().clone()

    def closure() -> torch.Tensor:
        loss = net[0](torch.ones(1, 3, 4, 4)).sum()
        loss.backward()
        return loss

    expected = net[0](torch.ones(1, 3, 4, 4)).sum().item()
    assert optimizer.step(closure).item() == pytest.approx(expected)
    assert torch.equal(net[2].weight, before)
    assert net[0].weight.grad is not None


def test_timm_by_name_and_its_near_misses():
    assert type(optimizers.timm_optimizer(small_net(), name="lion")).__name__ == "Lion"
    with pytest.raises(ValueError, match=r"name=lambb: timm has no such optimizer\. Did you mean lamb\?"):
        optimizers.timm_optimizer(small_net(), name="lambb")
    with pytest.raises(ValueError, match="name=adahessian"):
        optimizers.timm_optimizer(small_net(), name="adahessian")
