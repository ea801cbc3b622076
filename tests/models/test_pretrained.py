"""Weights from the Hugging Face hub: fetched once, not where none are wanted, and refused in words."""

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from cifarlab.models import pretrained
from cifarlab.models.weights import are_wanted, without_weights


def raising(error: Exception):
    def download(*arguments: object) -> str:
        raise error

    return download


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no network\nsecond line"), OSError("no network")])
def test_without_a_network_the_message_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", raising(error))
    with torch.device("meta"), pytest.raises(ValueError, match="the weights of vgg19 cannot be fetched") as caught:
        pretrained.create("vgg19", True)
    said = str(caught.value)
    assert "(no network)" in said
    assert "https://huggingface.co/timm/vgg19.tv_in1k/resolve/main/model.safetensors" in said
    assert "model.weights=FILE" in said


def test_a_repository_without_safetensors_is_left_to_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", raising(EntryNotFoundError("no such file")))
    pretrained.fetch("vgg19")


def test_the_file_is_asked_for_where_timm_will_look(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *where: asked.append(where))
    pretrained.fetch("resnet50")
    assert asked == [(timm.get_pretrained_cfg("resnet50").hf_hub_id, "model.safetensors")]


def test_an_architecture_without_weights_is_refused() -> None:
    name = next(name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights)
    with pytest.raises(ValueError, match=f"has no weights for {name}"):
        pretrained.fetch(name)


def test_weights_are_unwanted_inside_the_block_alone() -> None:
    def fail_inside() -> None:
        with without_weights():
            assert not are_wanted()
            raise KeyError("inside")

    assert are_wanted()
    with pytest.raises(KeyError):
        fail_inside()
    assert are_wanted()


def test_only_transformers_know_one_size() -> None:
    assert pretrained.only_size("vit_tiny_patch16_224") == 224
    assert pretrained.only_size("vgg19") is None
