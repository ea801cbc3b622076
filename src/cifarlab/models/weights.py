"""Weights that somebody else has trained: whether they are wanted now, and what a file of them has for a net."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_wanted: ContextVar[bool] = ContextVar("weights_from_elsewhere_wanted", default=True)


@contextmanager
def without_weights() -> Iterator[None]:
    """Inside the block no constructor fetches or reads weights: those of a run are about to take their place."""
    before = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(before)


def are_wanted() -> bool:
    """Whether a constructor is to see to the weights it was told to start from."""
    return _wanted.get()


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
    """A ``state_dict`` from a file of ``torch.save``, bare or under the key ``state_dict``, of safetensors, or of numpy
    (``.npz``, an array a name).

    Raises:
        ValueError: there is no such file, or it holds anything but tensors.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file of weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError):
        # PyTorch's own message advises to open the file in the way that runs the code in it.
        raise ValueError(f"{path}: damaged, or holds more than tensors; a state_dict alone is opened") from None
    state = held.get("state_dict", held) if isinstance(held, Mapping) else {}
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path}: holds no tensors by name; a state_dict is needed")
    return tensors


def compare(weights: Mapping[str, Tensor], net: nn.Module) -> Fit:
    """How weights would fit a net, by name and shape. Counters of batch norm do not count."""
    own = net.state_dict()
    return Fit(
        missing=tuple(name for name in own if name not in weights and not name.endswith(".num_batches_tracked")),
        misshapen={
            name: (tuple(weights[name].shape), tuple(value.shape))
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        },
        unused=tuple(name for name in weights if name not in own),
    )


def put_in(weights: Mapping[str, Tensor], net: nn.Module) -> Fit:
    """Put what fits into the net; names and shapes must be the net's."""
    fit = compare(weights, net)
    left_out = {*fit.misshapen, *fit.unused}
    net.load_state_dict({name: value for name, value in weights.items() if name not in left_out}, strict=False)
    return fit


def by_part(names: Iterable[str]) -> str:
    """``bn1 (4), layer1.0 (20), fc (2)``: how many tensors of each part of a net."""
    parts = (name.split(".")[:-1][:2] or [name] for name in names)
    return ", ".join(f"{part} ({count})" for part, count in Counter(".".join(part) for part in parts).items())
