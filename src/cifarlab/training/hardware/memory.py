"""What a training step needs of a device's memory, at the least, and what is free."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from cifarlab.models.weights import without_weights
from cifarlab.training.hardware.counts import Cost
from cifarlab.training.hardware.trainer import TrainerSettings

# Bytes of a number, for weights and for what is kept of the forward pass.
WIDTHS = {
    "64": (8, 8),
    "64-true": (8, 8),
    "16-true": (2, 2),
    "bf16-true": (2, 2),
    "16-mixed": (4, 2),
    "bf16-mixed": (4, 2),
}
# Compiled code computes some of the forward pass anew in the backward pass instead of keeping it.
KEPT_BY_COMPILED_CODE = 0.5
# Bounds that are never reached: float64 with a gradient and two moments; three kept tensors of float64 an output.
BYTES_OF_A_WEIGHT, BYTES_OF_AN_OUTPUT = 32, 24
PER_GIB = 2**30


@dataclass(frozen=True)
class Need:
    """Numbers (not bytes) that a training step holds at once: less than it will, never more.

    Attributes:
        weights: parameters and buffers, and a gradient for each that learns.
        optimizer: what the optimizer keeps between steps.
        activations: what autograd keeps of one picture's forward pass.
    """

    weights: int
    optimizer: int
    activations: float


def need(
    make_net: Callable[[int], nn.Module],
    make_optimizer: Callable[[nn.Module], Optimizer],
    num_classes: int,
    image_size: tuple[int, int],
) -> Need:
    """Count on the meta device, where nothing takes memory or time.

    The activations are the tensors that autograd saves for the backward pass, each storage once, weights left out. With
    the weights' part that came to 0.47 to 0.80 of the peak of a real step, measured for eight nets of ours on a CPU in
    float32 and bf16-mixed: buffers and gradients of activations come on top.
    """
    pictures = 2  # a batch norm at the end of a net refuses one
    with torch.device("meta"), without_weights():
        net = make_net(num_classes).train()
        optimizer = make_optimizer(net)
        images = torch.empty(pictures, 3, *image_size)
        labels = torch.empty(pictures, dtype=torch.int64)
        own = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
        kept: dict[int, Tensor] = {}  # held on to, so that no two storages have one address

        def keep(tensor: Tensor) -> Tensor:
            kept.setdefault(tensor.untyped_storage()._cdata, tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            F.cross_entropy(net(images), labels)
    learning = [weight for weight in net.parameters() if weight.requires_grad]
    held = sum(tensor.numel() for tensor in (*net.parameters(), *net.buffers()))
    saved = sum(tensor.untyped_storage().nbytes() / 4 for place, tensor in kept.items() if place not in own)
    return Need(held + sum(weight.numel() for weight in learning), _state(optimizer, learning), saved / pictures)


def _state(optimizer: Optimizer, learning: list[nn.Parameter]) -> int:
    """Numbers that the optimizer keeps, seen by a step on the meta device; 0 where it cannot step there."""
    for weight in learning:
        weight.grad = torch.empty_like(weight)
    with suppress(Exception):  # a step that asks for a value: the estimate stays below the truth
        optimizer.step()
    state = [value for of_weight in optimizer.state.values() for value in of_weight.values()]
    return sum(value.numel() for value in state if isinstance(value, Tensor))


def may_not_fit(cost: Cost, pictures: int, available: int) -> bool:
    """Whether it is worth counting: a bound from what is known already, well above any net's need.

    Args:
        cost: of the net.
        pictures: of a step on one device.
        available: bytes on one device.
    """
    return BYTES_OF_A_WEIGHT * cost.parameters + BYTES_OF_AN_OUTPUT * cost.outputs * pictures > available


def shortage(needed: Need, settings: TrainerSettings, *, pictures: int, available: int) -> str | None:
    """What cannot fit, in words: the sizes, and what could; None where a step may fit.

    Args:
        needed: by a step.
        settings: precision and devices.
        pictures: of a step on one device.
        available: bytes on one device.
    """
    of_weights, of_activations = WIDTHS.get(settings.resolved_precision, (4, 4))
    weights, optimizer = needed.weights * of_weights, needed.optimizer * of_weights
    activation = needed.activations * of_activations * (KEPT_BY_COMPILED_CODE if settings.compile else 1)
    total = weights + optimizer + activation * pictures
    if total <= available:
        return None
    sizes = (
        f"{_gib(weights)} for weights and gradients, {_gib(optimizer)} for the optimizer, "
        f"{_gib(activation * pictures)} for the activations of {pictures} pictures"
    )
    fit = max(0, math.floor((available - weights - optimizer) / activation))
    way_out = f"about {fit} pictures a step and device would fit" if fit else "a smaller net is needed"
    return f"a training step needs at least {_gib(total)} ({sizes}), {_gib(available)} are free; {way_out}"


def available_bytes(settings: TrainerSettings) -> int | None:
    """What is free for a run on each of its devices now; None where that cannot be told."""
    if settings.device_type == "cuda":
        return torch.cuda.mem_get_info()[0]
    free = [size for size in (_free_on_the_machine(), _free_in_the_container()) if size is not None]
    return min(free) // settings.devices if free else None


def _free_on_the_machine() -> int | None:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    return None


def _free_in_the_container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the limit of a control group (version 2) leaves; its cached files can be dropped."""
    with suppress(OSError, ValueError, StopIteration):
        limit, used = ((folder / name).read_text() for name in ("memory.max", "memory.current"))
        lines = (folder / "memory.stat").read_text().splitlines()
        cached = int(next(line for line in lines if line.startswith("inactive_file ")).split()[1])
        return int(limit) - int(used) + cached  # ValueError: the limit is "max"
    return None


def _gib(size: float) -> str:
    return f"{size / PER_GIB:.1f} GiB"
