"""timm's models by name, with a stem for small pictures."""

import pytest
import timm
import torch
from torch import nn

from cifarlab.models import pretrained
from cifarlab.models.resnet import ResNet
from cifarlab.models.timm_model import timm_model
from cifarlab.models.weights import without_weights


def test_resnet18_with_small_stem_equals_ours_with_copied_weights() -> None:
    torch.manual_seed(0)
    theirs, ours = timm_model(10, name="resnet18").eval(), ResNet(10).eval()
    keys = list(ours.state_dict())
    ours.load_state_dict(dict(zip(keys, theirs.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "original", "small"),
    # Side of the last feature map of a 32x32 picture.
    [("resnet18", 1, 4), ("resnet26d", 1, 4), ("mobilenetv3_small_050", 1, 2), ("regnetx_002", 1, 2)],
)
def test_small_stem_spares_the_first_halvings(name: str, original: int, small: int) -> None:
    images = torch.zeros(1, 3, 32, 32)
    for stem, side in [("original", original), ("small", small)]:
        net = timm_model(10, name=name, stem=stem).eval()
        with torch.no_grad():
            assert net.forward_features(images).shape[-2:] == (side, side)


@pytest.mark.parametrize(("stem", "patches"), [("original", 4), ("small", 64)])
def test_transformer_is_built_for_the_picture_size(stem: str, patches: int) -> None:
    net = timm_model(10, name="vit_tiny_patch16_224", stem=stem).eval()
    assert net.patch_embed.num_patches == patches
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_names_unknown_to_timm_are_refused_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"name=resnet18x is no model of timm .*; near: resnet18"):
        timm_model(10, name="resnet18x")


@pytest.mark.parametrize("name", ["convnext_atto", "mixer_s16_224"])
def test_stems_without_a_small_form_are_refused_and_work_as_they_are(name: str) -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match=f"stem=small is not known for name={name}; choose stem=original"):
            timm_model(10, name=name)
        assert timm_model(10, name=name, stem="original").eval()(torch.empty(1, 3, 32, 32)).shape == (1, 10)


def test_pretrained_keeps_the_filters_and_a_dry_run_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked, fetched = timm.create_model, [], []

    def record(name: str, *, pretrained: bool, **options: object) -> nn.Module:
        asked.append(pretrained)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", record)
    monkeypatch.setattr(pretrained, "fetch", fetched.append)
    net = timm_model(10, name="resnet18", pretrained=True)
    assert (net.conv1.kernel_size, net.conv1.stride) == ((7, 7), (1, 1))
    with torch.device("meta"):
        timm_model(10, name="resnet18", pretrained=True)
    with without_weights():
        again = timm_model(10, name="resnet18", pretrained=True)
    again.load_state_dict(net.state_dict())  # the same architecture, though nothing was loaded
    assert asked == [True, False, False]
    assert fetched == ["resnet18", "resnet18"]


def test_head_dropout_reaches_timm() -> None:
    assert timm_model(10, name="resnet18", head_dropout=0.4).drop_rate == 0.4
