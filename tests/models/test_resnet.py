"""CIFAR ResNets against torchvision, and their options."""

import math

import pytest
import torch
import torchvision
from torch import nn

from cifarlab.models.gates import gates
from cifarlab.models.resnet import PaddedShortcut, ResNet
from cifarlab.training.step.arithmetic import side_loss

CIFAR = {"stages": (3, 3, 3), "width": 16}


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def scramble(net: nn.Module) -> None:
    """Gives every tensor, running statistics too, a value of its own, so that a swap of two would show."""
    torch.manual_seed(0)
    for key, tensor in net.state_dict().items():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand_like(tensor) + 0.5 if key.endswith("running_var") else torch.randn_like(tensor) / 8)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("resnet18", {}), ("resnet50", {"stages": (3, 4, 6, 3), "block": "bottleneck"})],
)
def test_equals_torchvision_with_copied_weights(name: str, arguments: dict) -> None:
    theirs = getattr(torchvision.models, name)(num_classes=100)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    ours = ResNet(100, **arguments)
    scramble(theirs)
    source, target = list(theirs.state_dict().values()), ours.state_dict()
    assert [tensor.shape for tensor in source] == [tensor.shape for tensor in target.values()]
    ours.load_state_dict(dict(zip(target, source, strict=True)))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_parameters_of_the_shortcuts_of_resnet20() -> None:
    # Projections add 16 x 32 + 2 x 32 and 32 x 64 + 2 x 64: 2,752.
    assert count(ResNet(10, **CIFAR, shortcut="padding")) == 269_722
    assert count(ResNet(10, **CIFAR, shortcut="projection")) == 269_722 + 2_752 == 272_474


@pytest.mark.parametrize(("blocks", "millions"), [(3, 0.27), (5, 0.46), (7, 0.66), (9, 0.85), (18, 1.7)])
def test_sizes_in_table_6_of_he_et_al(blocks: int, millions: float) -> None:
    net = ResNet(10, stages=(blocks,) * 3, width=16, shortcut="padding")
    assert count(net) / 1e6 == pytest.approx(millions, rel=0.02)
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) + 1 == 6 * blocks + 2  # the depth in the name


def test_padded_shortcut_keeps_every_second_pixel_and_adds_zero_channels() -> None:
    images = torch.randn(2, 4, 7, 6)
    padded = PaddedShortcut(4, 8, 2)(images)
    torch.testing.assert_close(padded[:, :4], images[:, :, ::2, ::2], rtol=0, atol=0)
    assert padded.shape == (2, 8, 4, 3)
    assert not padded[:, 4:].any()


@pytest.mark.parametrize(("where", "share"), [("inside", 0.0), ("after_addition", 0.5)])
def test_dropout_after_the_addition_zeroes_the_block_and_dropout_inside_does_not(where: str, share: float) -> None:
    torch.manual_seed(0)
    net = ResNet(10, **CIFAR, dropout=0.5, dropout_at=where, activation="silu")
    maps = net.blocks[0](net.stem(torch.randn(4, 3, 32, 32)))
    # 65,536 values: 0.5 +- 0.002.
    assert (maps == 0).float().mean().item() == pytest.approx(share, abs=0.01)


def test_dropout_after_the_identity_spares_blocks_that_change_the_shape() -> None:
    net = ResNet(10, **CIFAR, dropout=0.5, dropout_at="after_identity")
    assert [block.dropout.p for block in net.blocks] == [0.5] * 3 + [0.0, 0.5, 0.5] * 2


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_dropout_inside_comes_before_the_last_convolution(block: str) -> None:
    branch = ResNet(10, **CIFAR, block=block, dropout=0.3).blocks[0].branch
    assert [type(layer).__name__ for layer in branch[-3:]] == ["Dropout", "SameConv2d", "BatchNorm2d"]
    assert branch[-3].p == 0.3


def test_head_dropout_acts_before_the_output_layer() -> None:
    torch.manual_seed(0)
    net = ResNet(10, **CIFAR, head_dropout=0.3)
    assert (net.dropout(torch.ones(100_000)) == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(net(images), net(images))


def test_open_gates_change_neither_weights_nor_outputs() -> None:
    torch.manual_seed(0)
    plain = ResNet(10, **CIFAR)
    gated = ResNet(10, **CIFAR, gate="sparse")
    gated.load_state_dict(plain.state_dict())
    assert len(gates(gated)) == 9
    assert gates(plain) == {}
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(gated(images), plain(images), rtol=0, atol=0)
    for ours, theirs in zip(gated.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(gated.eval()(images), plain.eval()(images), rtol=0, atol=0)


def test_stages_are_one_to_five() -> None:
    with pytest.raises(ValueError, match=r"stages=\[\] has 0 entries; one to five"):
        ResNet(10, stages=())
    with pytest.raises(ValueError, match="has 6 entries"):
        ResNet(10, stages=(1,) * 6)


@pytest.mark.parametrize(("dropout_at", "classes"), [("inside", 10), ("after_addition", 100), ("after_identity", 100)])
def test_a_deep_net_starts_near_the_loss_of_a_guess(dropout_at: str, classes: int) -> None:
    torch.manual_seed(0)
    net = ResNet(classes, stages=(18, 18, 18), shortcut="padding", width=16, dropout=0.5, dropout_at=dropout_at)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(net(torch.randn(64, 3, 32, 32)), torch.arange(64) % classes)
    assert loss.item() == pytest.approx(math.log(classes), abs=0.3)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_response_gates_blocks_are_those_of_its_authors(block: str) -> None:
    """Norm and activation before each convolution but the first block's first, none after the addition."""
    net = ResNet(10, stages=(1, 1), width=8, block=block, gate="response", activation="relu")
    first, second = ([type(layer).__name__ for layer in each.branch] for each in net.blocks)
    convolutions = {"basic": 2, "bottleneck": 3}[block]
    assert first.count("SameConv2d") == second.count("SameConv2d") == convolutions
    assert first[0] == "SameConv2d"
    assert second[:3] == ["BatchNorm2d", "ReLU", "SameConv2d"]
    assert first[-2:] == second[-2:] == ["SameConv2d", "ResponseGate"]
    assert isinstance(net.blocks[0].activation, nn.Identity)
    assert isinstance(net.end[0], nn.BatchNorm2d)


def test_an_answer_from_halfway_is_given_in_training_alone() -> None:
    torch.manual_seed(0)
    net = ResNet(10, stages=(2, 2), width=8, side_weight=0.1)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    logits = net(images)
    maps = net.blocks[1](net.blocks[0](net.stem(images)))
    torch.testing.assert_close(net.side_logits, net.side(maps))
    loss = nn.functional.cross_entropy(net.side_logits, labels)
    assert side_loss(net, labels).item() == pytest.approx(0.1 * loss.item())
    assert net.side_logits is None
    assert side_loss(net, labels) == 0.0
    net.eval()(images)
    assert net.side_logits is None
    assert logits.shape == (4, 10)


def test_a_sparse_gate_that_is_closed_from_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gate_threshold=1\.5 closes every sparse gate"):
        ResNet(10, gate="sparse", gate_threshold=1.5)
    assert ResNet(10, **CIFAR, gate="response").blocks[0].branch[-1].threshold == 2.5
