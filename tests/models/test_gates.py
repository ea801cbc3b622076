"""Gates that close a residual branch."""

import pytest
import torch
from torch import nn

from cifarlab.models.gates import ResponseGate, SparseGate, count_gates, gates, gates_l1
from cifarlab.models.resnet import ResNet


def gated_net(**arguments: object) -> ResNet:
    torch.manual_seed(0)
    return ResNet(10, stages=(2, 1), width=8, gate="sparse", **arguments)


def set_strength(gate: SparseGate, strength: float) -> None:
    nn.init.constant_(gate.weight, strength)
    nn.init.zeros_(gate.bias)


def test_strength_is_the_root_mean_square_of_the_branch() -> None:
    torch.manual_seed(0)
    gate = SparseGate(16, 0.1)
    nn.init.normal_(gate.weight)
    nn.init.normal_(gate.bias)
    response = gate(3 + 5 * torch.randn(32, 16, 8, 8))
    assert gate.strength().item() == pytest.approx(response.square().mean().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_a_closed_gate_leaves_a_strict_identity(training: bool) -> None:
    net = gated_net().train(training)
    maps = net.stem(torch.randn(4, 3, 32, 32))
    assert not torch.equal(net.blocks[0](maps), maps)
    set_strength(gates(net)["blocks.0.branch.5"], 0.099)
    assert torch.equal(net.blocks[0](maps), maps)


def test_a_gate_opens_at_its_threshold_and_not_below() -> None:
    gate = SparseGate(4, 0.25)
    set_strength(gate, 0.25)
    assert bool(gate.is_open())
    set_strength(gate, 0.2499)
    assert not bool(gate.is_open())


def test_a_closed_branch_gets_no_gradient_from_the_data_and_the_open_ones_do() -> None:
    net = gated_net()
    set_strength(gates(net)["blocks.0.branch.5"], 0.05)
    net(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(not parameter.grad.any() for parameter in net.blocks[0].branch.parameters())
    assert all(bool(parameter.grad.any()) for parameter in net.blocks[1].branch.parameters())


def test_l1_is_the_sum_of_channels_times_strength() -> None:
    net = gated_net()
    assert [gate.num_features for gate in gates(net).values()] == [8, 8, 16]
    assert gates_l1(net).item() == pytest.approx(32)
    set_strength(gates(net)["blocks.1.branch.5"], 0.5)
    assert gates_l1(net).item() == pytest.approx(28)
    with pytest.raises(ValueError, match="Linear has no gates; gate=sparse"):
        gates_l1(nn.Linear(2, 2))


def test_l1_alone_closes_every_gate_and_ends_at_zero_without_nan() -> None:
    net = gated_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    strengths = []
    for _ in range(12):
        optimizer.zero_grad()
        gates_l1(net).backward()
        optimizer.step()
        strengths.append([gate.strength().item() for gate in gates(net).values()])
    assert strengths[0] == pytest.approx([0.9] * 3)  # lr x factor a step, whatever the width
    assert strengths[4] == pytest.approx([0.5] * 3)
    assert not any(bool(gate.is_open()) for gate in gates(net).values())
    for gate in gates(net).values():
        nn.init.zeros_(gate.weight)
    optimizer.zero_grad()
    gates_l1(net).backward()
    assert all(not gate.weight.grad.any() for gate in gates(net).values())


def test_bottleneck_gates_end_their_branches() -> None:
    net = gated_net(block="bottleneck")
    assert [gate.num_features for gate in gates(net).values()] == [32, 32, 64]


def test_a_response_gate_reads_the_largest_response_of_a_training_batch() -> None:
    gate = ResponseGate(2.5)
    weak = torch.zeros(4, 8, 3, 3)
    weak[1, 2, 0, 1] = -2.49
    assert not gate(weak).any()
    weak[3, 7, 2, 2] = -2.5
    assert torch.equal(gate(weak), weak)


def test_a_closed_response_gate_leaves_its_weights_to_their_decay() -> None:
    convolution, gate = nn.Conv2d(3, 8, 3), ResponseGate(1e3)
    optimizer = torch.optim.SGD(convolution.parameters(), lr=0.1, weight_decay=0.5)
    before = convolution.weight.detach().clone()
    gate(convolution(torch.randn(4, 3, 8, 8))).sum().backward()
    optimizer.step()
    torch.testing.assert_close(convolution.weight.detach(), before * (1 - 0.1 * 0.5))


def test_in_evaluation_a_response_gate_is_as_most_training_batches_found_it() -> None:
    gate, strong, weak = ResponseGate(1.0), torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 0.5)
    gate(strong)
    assert torch.equal(gate.eval()(weak), weak)  # a weak batch does not close it
    gate.train()
    for _ in range(68):
        gate(weak)
    assert bool(gate.is_open())  # 0.99 ** 68 = 0.505
    gate(weak)
    assert not bool(gate.is_open())  # 0.99 ** 69 = 0.4998
    assert not gate.eval()(strong).any()
    assert count_gates(nn.Sequential(gate, ResponseGate(1.0))) == {"gates": 2.0, "closed_gates": 1.0}
    assert count_gates(nn.ReLU()) == {}
