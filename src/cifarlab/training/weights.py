"""Weights from a file, whole or in part: what somebody else has trained, under the net's own names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


class Fit(NamedTuple):
    """How a file's weights fit a net.

    Attributes:
        missing: names of the net's tensors that the file lacks.
        misshapen: name -> shapes in the file and in the net, where they differ.
        unused: names in the file that the net lacks.
    """

    missing: tuple[str, ...]
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: tuple[str, ...]

    @property
    def untouched(self) -> tuple[str, ...]:
        """The net's tensors that stayed as they were."""
        return (*self.missing, *self.misshapen)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A ``state_dict`` from a file of ``torch.save``, bare or under the key ``state_dict``, or of safetensors.

    Raises:
        ValueError: there is no such file, or it holds anything but tensors.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError):
        # PyTorch's own message advises to open the file in the way that runs the code in it.
        raise ValueError(f"{path}: damaged, or holds more than tensors; a state_dict alone is opened") from None
    state = held.get("state_dict", held) if isinstance(held, Mapping) else {}
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path}: holds no tensors by name; a state_dict is needed")
    return tensors


def put_in(weights: Mapping[str, Tensor], net: nn.Module) -> Fit:
    """Put what fits into the net; names and shapes must be the net's. Counters of batch norm do not count."""
    own = net.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    net.load_state_dict(fitting, strict=False)
    return Fit(
        missing=tuple(name for name in own if name not in weights and not name.endswith(".num_batches_tracked")),
        misshapen={
            name: (tuple(weights[name].shape), tuple(value.shape))
            for name, value in own.items()
            if name in weights and name not in fitting
        },
        unused=tuple(name for name in weights if name not in own),
    )
