"""What every architecture under conf/model must do; a new one fails here until its parameters are listed."""

import copy
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from cifarlab.models.initialization import output_layer

CONFIGS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))}

# Parameters for 10 classes, and where the number comes from.
PARAMETERS = {
    "convnet": 2_169_770,  # by hand: tests/models/test_convnet.py
    "highway": 995_386,  # by hand: tests/models/test_highway.py
    "resnet": 1_227_594,  # by hand: tests/models/test_residual.py
    "resnet110": 1_727_962,  # He et al. 2016, table 6: 1.7 M
    "resnet18": 11_173_962,  # timm and torchvision with a 3x3 stem; 11.17 M in the CIFAR literature
    "resnet20": 269_722,  # He et al. 2016, table 6: 0.27 M
    "resnet50": 23_520_842,  # timm and torchvision with a 3x3 stem; 23.5 M in the CIFAR literature
    "simple_cnn": 651_978,  # by hand: tests/models/test_simple_cnn.py
    "speedrun": 1_972_792,  # arXiv 2404.00498: 1.97 M
    "timm": 11_173_962,  # timm's resnet18 with a 3x3 stem
    "tiny_resnet": 213_226,  # by hand: tests/models/test_tiny_resnet.py
    "tiny_vgg": 591_274,  # by hand: tests/models/test_tiny_vgg.py
    "transfer": 20_817_482,  # torchvision's vgg19 features (20,024,384) and the head by hand: test_transfer.py
    "vgg19": 20_040_522,  # torchvision's vgg19_bn features and one linear layer; 20.04 M in the CIFAR literature
    "wrn": 2_748_890,  # WRN-16-4: Zagoruyko and Komodakis 2016, table 4: 2.7 M; tests/models/test_wide_resnet.py
}


def read(name: str) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """The class or function that the YAML names, and its arguments."""
    config = OmegaConf.load(CONFIGS[name])
    node = OmegaConf.to_container(config.get("model", config), resolve=True)
    module, _, attribute = node.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), attribute), node


def build(name: str, num_classes: int = 10, **arguments: Any) -> nn.Module:
    target, node = read(name)
    torch.manual_seed(0)
    return target(num_classes, **(node | arguments))


def pictures(count: int, height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_every_yaml_has_its_parameters_listed() -> None:
    assert set(CONFIGS) == set(PARAMETERS)


@pytest.mark.parametrize("name", CONFIGS)
def test_number_of_parameters(name: str) -> None:
    assert sum(parameter.numel() for parameter in build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_signature_is_the_whole_configuration(name: str) -> None:
    target, node = read(name)
    parameters = inspect.signature(target).parameters
    assert next(iter(parameters)) == "num_classes"
    knobs = {key: value for key, value in parameters.items() if value.kind is inspect.Parameter.KEYWORD_ONLY}
    assert len(knobs) == len(parameters) - 1
    assert set(node) <= set(knobs)
    documented = inspect.getdoc(target).partition("Args:")[2]
    for key, knob in knobs.items():
        assert knob.annotation is not inspect.Parameter.empty
        assert f"\n    {key}: " in documented, f"{key} is missing under Args"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_yaml_says_only_what_differs_from_the_signature(name: str) -> None:
    target, node = read(name)
    defaults = {key: knob.default for key, knob in inspect.signature(target).parameters.items()}
    same = {key for key, value in node.items() if (tuple(value) if isinstance(value, list) else value) == defaults[key]}
    assert same == set()


@pytest.mark.parametrize("name", CONFIGS)
def test_trains_in_float32_and_every_learnable_tensor_gets_a_gradient(name: str) -> None:
    net = build(name)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)  # timm ends branches with a norm of 0, before which all gradients start at 0
    logits = net(pictures(4))
    assert logits.shape == (4, 10)
    assert logits.dtype == torch.float32
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    for key, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert bool(parameter.grad.isfinite().all()), key
            assert bool((parameter.grad != 0).any()) or key.endswith("bias"), key


@pytest.mark.parametrize("name", CONFIGS)
def test_bfloat16_channels_last_agrees_with_float32(name: str) -> None:
    net = build(name, 100).eval()
    images = pictures(2)
    with torch.no_grad():
        reference = net(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits, torch.arange(2))
    loss.backward()
    assert logits.shape == (2, 100)
    # bfloat16 keeps 8 bits: 0.4 % a rounding, which random signs pile up over at most 110 layers.
    assert ((logits.float() - reference).norm() / reference.norm()).item() < 0.06
    assert bool(output_layer(net).weight.grad.isfinite().all())


@pytest.mark.parametrize("name", CONFIGS)
def test_channels_last_gives_the_same_logits(name: str) -> None:
    net = build(name).eval()
    images = pictures(2)
    with torch.no_grad():
        plain = net(images)
        last = net.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_builds_and_runs_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        net = build(name, 100)
        logits = net(torch.empty(2, 3, 32, 32))
    assert (logits.device.type, logits.shape) == ("meta", (2, 100))
    assert {tensor.device.type for tensor in [*net.parameters(), *net.buffers()]} == {"meta"}


@pytest.mark.parametrize("name", CONFIGS)
def test_other_picture_sizes(name: str) -> None:
    net = build(name).eval()
    with torch.no_grad():
        assert net(pictures(1, 40, 48)).shape == (1, 10)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_seed_same_weights(name: str) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", CONFIGS)
def test_output_layer_gives_the_logits(name: str) -> None:
    net = build(name, 100)
    layer = output_layer(net)
    assert layer.out_features == 100
    changed = copy.deepcopy(net).eval()
    nn.init.zeros_(output_layer(changed).weight)
    if layer.bias is not None:
        nn.init.zeros_(output_layer(changed).bias)
    with torch.no_grad():
        assert bool((changed(pictures(1)) == 0).all())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet", {"width": 8, "kernel_size": 4, "downsample": "pool"}),
        ("tiny_vgg", {"width": 8, "batch_norm": True}),
        ("resnet20", {"width": 4, "gate": "sparse", "dropout_at": "after_addition"}),
        ("highway", {"width": 4, "layers": 2}),
        ("speedrun", {"widths": (4, 8, 8)}),
    ],
)
def test_compiles_without_a_graph_break(name: str, arguments: dict[str, Any]) -> None:
    net = build(name, **arguments)
    compiled = copy.deepcopy(net)
    compiled.compile(backend="aot_eager", fullgraph=True)  # traces forward and backward; no code to generate
    losses = []
    for model in (net, compiled):
        losses.append(nn.functional.cross_entropy(model(pictures(4)), torch.arange(4)))
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(output_layer(compiled).weight.grad, output_layer(net).weight.grad)
    assert list(compiled.state_dict()) == list(net.state_dict())
