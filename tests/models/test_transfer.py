"""Backbones that others have trained: cut, filled from files, with a head of our own."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from cifarlab.models import pretrained
from cifarlab.models.transfer import Transfer
from cifarlab.models.weights import without_weights

SMALL = "test_resnet"  # timm's own for tests: 0.47 million parameters, named as torchvision names a ResNet's


def pictures(count: int = 2, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def trained_weights(name: str = SMALL) -> dict[str, Tensor]:
    """What training somewhere else might have left: every tensor of timm's model, statistics and head too."""
    torch.manual_seed(7)
    state = timm.create_model(name, num_classes=1000).state_dict()
    return {key: torch.rand_like(value) + 0.1 if value.is_floating_point() else value for key, value in state.items()}


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    torch.save(trained_weights(), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def test_parameters_are_torchvisions_features_and_the_reports_head() -> None:
    with torch.device("meta"):
        net = Transfer(10)
        features = torchvision.models.vgg19(init_weights=False).features
    dense = 3 * (512 * 512 + 512)
    assert sum(each.numel() for each in features.parameters()) == 20_024_384
    assert sum(each.numel() for each in net.backbone.parameters()) == 20_024_384
    assert sum(each.numel() for each in net.head.parameters()) == dense + 512 * 10 + 10
    assert [type(layer).__name__ for layer in net.head] == ["Linear", "ReLU"] * 3 + ["Dropout", "Linear"]
    assert net.head[6].p == 0.4
    assert net.get_classifier() is net.head


@pytest.mark.parametrize(("stages", "layers"), [(None, 21), (2, 5), (5, 20)])
def test_torchvisions_weights_give_torchvisions_maps(tmp_path: Path, stages: int | None, layers: int) -> None:
    """All of VGG11, its second convolution, its last one before the pool: as `features` cut at that layer."""
    torch.manual_seed(3)
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg11.pth")
    net = Transfer(10, name="vgg11", weights=str(tmp_path / "vgg11.pth"), stages=stages)
    with torch.no_grad():
        maps = features[:layers](pictures())
        torch.testing.assert_close(net.backbone(pictures()), maps)
    assert net.backbone.channels == maps.shape[1] == net.head[0].in_features


def test_vgg19_has_the_stages_of_the_paper() -> None:
    with torch.device("meta"):
        nets = [Transfer(10, stages=stages) for stages in (1, 2, 3, 4, 5, 6)]
    convolutions = [sum(isinstance(module, nn.Conv2d) for module in net.backbone.modules()) for net in nets]
    assert convolutions == [2, 4, 8, 12, 16, 16]
    assert [net.backbone.channels for net in nets] == [64, 128, 256, 512, 512, 512]


@pytest.mark.parametrize("form", ["pth", "checkpoint", "safetensors"])
def test_a_file_fills_the_backbone_and_leaves_the_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    weights, path = trained_weights(), tmp_path / f"small.{form}"
    if form == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if form == "checkpoint" else weights, path)
    torch.manual_seed(0)
    net = Transfer(10, name=SMALL, weights=str(path))
    torch.manual_seed(0)
    plain = Transfer(10, name=SMALL)
    own = net.backbone.net.state_dict()
    assert {name: bool(torch.equal(value, weights[name])) for name, value in own.items()} == dict.fromkeys(own, True)
    for name, value in net.head.state_dict().items():
        assert torch.equal(value, plain.head.state_dict()[name]), name
    assert f"{len(own)} tensors for the backbone {SMALL}; not used: fc (2)" in capsys.readouterr().out


def test_the_rest_of_a_whole_net_is_left_out_where_it_is_cut(small_file: Path) -> None:
    whole = Transfer(10, name=SMALL, weights=str(small_file)).eval()
    net = Transfer(10, name=SMALL, weights=str(small_file), stages=3).eval()
    assert {name.split(".")[0] for name in net.backbone.net.state_dict()} == {"conv1", "bn1", "layer1", "layer2"}
    images = pictures(side=64)
    with torch.no_grad():
        maps = whole.backbone.net.forward_intermediates(images, intermediates_only=True)
        torch.testing.assert_close(net.backbone(images), maps[2] if len(maps) == 5 else maps[-3])


def test_the_counters_of_batch_norm_in_what_was_cut_off_are_no_strangers(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = timm.create_model("vgg11_bn").state_dict()
    beginning = {
        name: torch.ones(value.shape, dtype=value.dtype)
        for name, value in state.items()
        if name.startswith("features.") and int(name.split(".")[1]) < 14
    }
    torch.save(beginning, tmp_path / "beginning.pth")
    net = Transfer(10, name="vgg11_bn", weights=str(tmp_path / "beginning.pth"), stages=2)
    assert bool((net.backbone.net.features[0].weight == 1).all())


def without_last_stage(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith("layer4")}


def misshapen(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"bn1.weight": torch.zeros(3)}


def deeper(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"layer1.7.conv1.weight": torch.zeros(3)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_last_stage, r"layer4\.0\.conv1\.weight is missing, .*; it holds the first stages: model\.stages=4$"),
        (misshapen, r"bn1\.weight is 3, not \d+$"),
        (deeper, rf"layer1\.7\.conv1\.weight is not in {SMALL}$"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_weights_of_another_net_are_refused_before_anything_is_trained(tmp_path: Path, change, said, device) -> None:
    path = tmp_path / "other.pth"
    torch.save(change(trained_weights()), path)
    with torch.device(device), pytest.raises(ValueError, match=said) as caught:
        Transfer(10, name=SMALL, weights=str(path))
    assert str(caught.value).startswith(f"model.weights={path}: not the weights of {SMALL}: ")


def test_a_file_that_is_not_there_is_named_with_what_is_needed() -> None:
    with pytest.raises(ValueError, match=r"model\.weights=/nowhere\.pth: there is no such file; a state_dict of vgg19"):
        Transfer(10, weights="/nowhere.pth")
    with torch.device("meta"), pytest.raises(ValueError, match="there is no such file"):
        Transfer(10, weights="/nowhere.pth")


def test_a_dry_run_checks_the_file_and_says_nothing(small_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.device("meta"):
        net = Transfer(10, name=SMALL, weights=str(small_file))
    assert next(net.parameters()).is_meta
    assert capsys.readouterr().out == ""


def test_a_net_whose_weights_come_later_needs_no_file() -> None:
    with without_weights():
        Transfer(10, name=SMALL, weights="/nowhere.pth", pretrained=True)


def test_pretrained_fetches_unless_a_file_is_given(small_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create, fetched, asked = timm.create_model, [], []

    def record(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        asked.append((pretrained, "num_classes" in options))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(pretrained, "fetch", fetched.append)
    monkeypatch.setattr(timm, "create_model", record)
    Transfer(10, name=SMALL, pretrained=True)
    Transfer(10, name=SMALL, pretrained=True, weights=str(small_file))
    with torch.device("meta"):
        Transfer(10, name=SMALL, pretrained=True)
    assert fetched == [SMALL, SMALL]
    # timm fills a net with the whole of its weights, so that one keeps its own head until it is full.
    assert asked == [(True, False), (False, True), (False, True)]


def test_pictures_are_enlarged_inside_the_net() -> None:
    torch.manual_seed(0)
    net = Transfer(10, name=SMALL, image_size=64).eval()
    torch.manual_seed(0)
    plain = Transfer(10, name=SMALL).eval()
    large = F.interpolate(pictures(), (64, 64), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(net(pictures()), plain(large))
        assert not torch.allclose(net(pictures()), plain(pictures()))


def test_a_transformer_gets_the_size_that_it_knows() -> None:
    with torch.device("meta"):
        for size, patches in ((None, 196), (64, 16)):
            net = Transfer(10, name="vit_tiny_patch16_224", image_size=size)
            assert net.backbone.net.patch_embed.num_patches == patches
            assert net(torch.empty(2, 3, 32, 32)).shape == (2, 10)


def test_a_norm_takes_the_scale_out_of_the_maps() -> None:
    torch.manual_seed(0)
    net = Transfer(10, name=SMALL, head_norm=True)
    assert isinstance(net.head[0], nn.BatchNorm1d)
    normed = net.head[0](1000 * torch.rand(64, net.backbone.channels))
    torch.testing.assert_close(normed.std(0, unbiased=False), torch.ones(net.backbone.channels), rtol=1e-3, atol=0)
    assert net(pictures()).shape == (2, 10)


def test_the_head_may_have_no_dense_layer() -> None:
    net = Transfer(10, name=SMALL, hidden=())
    assert [type(layer).__name__ for layer in net.head] == ["Dropout", "Linear"]
    assert net(pictures()).shape == (2, 10)


def test_names_and_stages_that_timm_lacks_are_refused() -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match=r"name=vgg19x is no model of timm .*; near: vgg19"):
            Transfer(10, name="vgg19x")
        with pytest.raises(ValueError, match=r"model\.stages=7: vgg19 has 6 stages; allowed: an integer from 1 to 6"):
            Transfer(10, stages=7)


def test_it_compiles_without_a_graph_break() -> None:
    net = Transfer(10, name="vgg11", stages=1, image_size=48).eval()
    plain = net(pictures())
    net.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(net(pictures()), plain)
