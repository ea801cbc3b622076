"""timm's architectures, with the weights that timm has for them where a net is to start from these."""

from __future__ import annotations

import difflib
from typing import Any

import huggingface_hub
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import nn

from cifarlab.models.weights import are_wanted

# What timm looks for first on the Hugging Face hub.
FILE = "model.safetensors"


def is_dry_run() -> bool:
    """Whether nets are being built on the meta device, which has no place for weights."""
    return torch.get_default_device().type == "meta"


def are_loaded(pretrained: bool) -> bool:
    """Whether `create` puts weights into the net that it makes now."""
    return pretrained and are_wanted() and not is_dry_run()


def create(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """timm's model of that name. A dry run only makes sure that the pretrained weights are on this machine.

    Args:
        name: one of ``timm.list_models()``.
        pretrained: with the weights that timm has for it, fetched from the Hugging Face hub where they are not cached.
        options: of ``timm.create_model``.

    Raises:
        ValueError: the weights cannot be fetched.
    """
    if pretrained and are_wanted():
        fetch(name)
    net: nn.Module = timm.create_model(name, pretrained=are_loaded(pretrained), **options)
    return net


def check_name(name: str) -> None:
    """Refuse a model that timm does not have.

    Raises:
        ValueError: naming the nearest ones.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ValueError(f"name={name} is no model of timm {timm.__version__}; near: {', '.join(near) or 'none'}")


def fetch(name: str) -> None:
    """Bring timm's weights for a model into the Hugging Face cache, where they are not there yet.

    Raises:
        ValueError: there are none, or no network to fetch them by.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ValueError(f"model.pretrained=true: timm {timm.__version__} has no weights for {name}")
    if not config.hf_hub_id:
        return  # timm fetches them from the address that it has, when it loads them
    # It would announce each of its attempts without a network.
    huggingface_hub.utils.logging.set_verbosity_error()
    try:
        huggingface_hub.hf_hub_download(config.hf_hub_id, FILE)
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise _not_fetched(name, config.hf_hub_id, error) from error
    except OSError as error:  # refused by the hub
        raise _not_fetched(name, config.hf_hub_id, error) from error


def only_size(name: str) -> int | None:
    """Side of the pictures that a model is made for where timm says that it knows one size only, as transformers do."""
    config = timm.get_pretrained_cfg(name)
    return config.input_size[-1] if config is not None and config.fixed_input_size else None


def _not_fetched(name: str, repository: str, error: BaseException) -> ValueError:
    cause = error.__cause__ or error
    reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
    return ValueError(
        f"model.pretrained=true: the weights of {name} cannot be fetched ({reason}). Where there is a network, fetch "
        f"https://huggingface.co/{repository}/resolve/main/{FILE}; model=transfer takes that file, or torchvision's, "
        "by model.weights=FILE, and visualize.py by weights=FILE"
    )
