"""Record a step once on a GPU, then replay it: one launch where Python would make several hundred.

A reader of the training step can skip this file: `RecordedStep` calls the very function it is given, with tensors that
stay where they are, a few times as it is and then inside a CUDA graph (PyTorch's notes on CUDA, "CUDA Graphs"). What
the host decides from step to step (learning rates, momentum, the share of a moving average) is copied into tensors
before each call. Recording runs nothing, so it leaves no trace in weights, optimizer or generators; the calls before it
are steps of the run like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.data.batches import Place

DEVICES = ("cuda",)  # that can record
WARM_UP = 3  # calls of a shape before it is recorded: libraries choose their kernels, the optimizer makes its state

Replay = Callable[[], None]


class Graphs:
    """CUDA graphs of one device. Their memory is shared: nothing in it outlives a replay."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def call(self, function: Callable[[], None]) -> None:
        """Run as it is, on the stream that will record, to which autograd then keeps."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            function()
        torch.cuda.current_stream().wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Replay:
        """What repeats the function's work on the device, and none of its Python."""
        graph = torch.cuda.CUDAGraph()
        device = self._stream.device_index
        stream, generator = torch.cuda.current_stream(), torch.cuda.default_generators[device]
        numbers = generator.clone_state()
        try:
            # Another thread (a logger's, a loader's) may call CUDA meanwhile without ending the recording.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                function()
        except Exception:
            # torch leaves stream, generator and allocator as if the recording would still end.
            torch.cuda.set_stream(stream)
            generator.graphsafe_set_state(numbers)
            with suppress(RuntimeError, AttributeError):
                torch._C._cuda_endAllocateToPool(device, self._pool)
            raise
        return graph.replay


class Dials:
    """The numbers of an optimizer's groups as tensors that a recording reads, for as long as a step runs.

    Outside of a step the groups hold plain numbers, for schedules, records and checkpoints. The learning rate always
    has a tensor; another number gets one when it is first seen to change, and what was recorded before is then stale.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.device = device
        self._fixed = [_numbers_of(group) for group in optimizer.param_groups]
        self._moving: dict[tuple[int, str], Tensor | tuple[Tensor, ...]] = {}
        self._shown: dict[tuple[int, str], Any] = {}
        for index, numbers in enumerate(self._fixed):
            self._move(index, "lr", numbers["lr"])
        self._count_on(device)  # a state that was made by plain steps counts them on the host

    def let_go(self) -> None:
        """Leave the optimizer to plain steps."""
        self._count_on(torch.device("cpu"))

    def _count_on(self, device: torch.device) -> None:
        for state in self.optimizer.state.values():
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].to(device)

    def turn(self) -> bool:
        """Show what the groups hold now; false where a number has moved that was held to be fixed."""
        as_before = True
        for index, group in enumerate(self.optimizer.param_groups):
            for name, value in _numbers_of(group).items():
                if (index, name) in self._moving:
                    self._show(index, name, value)
                elif value != self._fixed[index][name]:
                    self._move(index, name, value)
                    as_before = False
        return as_before

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The groups with tensors for what moves, and with torch's switches for steps that can be recorded."""
        groups = self.optimizer.param_groups
        plain = [dict(group) for group in groups]
        for (index, name), tensors in self._moving.items():
            groups[index][name] = tensors
        only_lr = all(name == "lr" for _, name in self._moving)
        for group in groups:
            if "fused" in group:
                group["fused"] = only_lr
            if "capturable" in group:
                group["capturable"] = self.device.type == "cuda"
        try:
            yield
        finally:
            for group, values in zip(groups, plain, strict=True):
                group.update(values)

    def _move(self, index: int, name: str, value: Any) -> None:
        parts = value if isinstance(value, tuple) else (value,)
        tensors = tuple(torch.zeros((), device=self.device) for _ in parts)
        self._moving[index, name] = tensors if isinstance(value, tuple) else tensors[0]
        self._show(index, name, value)

    def _show(self, index: int, name: str, value: Any) -> None:
        if self._shown.get((index, name)) == value:
            return
        self._shown[index, name] = value
        tensors = self._moving[index, name]
        for tensor, number in zip(
            tensors if isinstance(tensors, tuple) else (tensors,),
            value if isinstance(value, tuple) else (value,),
            strict=True,
        ):
            tensor.fill_(number)


class RecordedStep:
    """Calls a step for place after place, and records each of its shapes once it has been called a few times.

    Args:
        step: of a place, of tensors of one element that change from call to call, and of switches.
        device: where it runs.
        dials: of the optimizer that the step steps, if it does.
        on_failure: told why nothing is recorded any more; the step is called as it is from then on.
    """

    def __init__(
        self,
        step: Callable[..., None],
        device: torch.device,
        *,
        dials: Dials | None = None,
        on_failure: Callable[[str], None],
    ) -> None:
        self.step = step
        self.device = device
        self.dials = dials
        self.on_failure = on_failure
        self.graphs = Graphs(device)
        self.failed = False
        self._shapes: dict[tuple[Any, ...], _Shape] = {}

    @property
    def recorded(self) -> bool:
        """Whether there is a recording."""
        return any(shape.replay is not None for shape in self._shapes.values())

    def __call__(self, place: Place, numbers: Sequence[float] = (), **switches: bool) -> None:
        """The step at this place."""
        if self.failed:
            self.step(place, *numbers, **switches)
            return
        if self.dials is not None and not self.dials.turn():
            self._shapes.clear()
        key = (id(place.batches), len(place), *switches.items())
        shape = self._shapes.setdefault(key, _Shape(place, len(numbers), self.device))
        shape.fill(place, numbers)
        if shape.replay is None and shape.calls >= WARM_UP:
            self._record(shape, switches)
        if shape.replay is not None:
            shape.replay()
        elif self.failed:
            self.step(place, *numbers, **switches)
        else:
            shape.calls += 1
            self.graphs.call(lambda: self._run(shape, switches))

    def _run(self, shape: _Shape, switches: dict[str, bool]) -> None:
        with self.dials.in_place() if self.dials else nullcontext():
            self.step(shape.place, *shape.numbers, **switches)

    def _record(self, shape: _Shape, switches: dict[str, bool]) -> None:
        gradients = [(weight, weight.grad) for weight in self._weights()]
        try:
            shape.replay = self.graphs.record(lambda: self._run(shape, switches))
        except Exception as error:  # whatever it is, the run goes on without
            for weight, gradient in gradients:
                weight.grad = gradient
            self.failed = True
            self._shapes.clear()
            if self.dials is not None:
                self.dials.let_go()
            self.on_failure(f"recording failed: {type(error).__name__}: {str(error).strip().splitlines()[0]}")

    def _weights(self) -> Iterator[Tensor]:
        for group in self.dials.optimizer.param_groups if self.dials else ():
            yield from group["params"]


class _Shape:
    """What one shape of call reads, in tensors that stay, and its recording once there is one."""

    def __init__(self, place: Place, numbers: int, device: torch.device) -> None:
        self.place = Place(place.batches, torch.empty_like(place.rows), torch.empty_like(place.step))
        self.numbers = [torch.zeros((), device=device) for _ in range(numbers)]
        self.replay: Replay | None = None
        self.calls = 0

    def fill(self, place: Place, numbers: Sequence[float]) -> None:
        self.place.rows.copy_(place.rows)
        self.place.step.copy_(place.step)
        for tensor, number in zip(self.numbers, numbers, strict=True):
            tensor.fill_(number)


def obstacle(trainer: Trainer, optimizer: Optimizer, place: Place) -> str | None:
    """Why a run cannot record its step, as far as can be known before it is tried; None where it can be tried."""
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return "the gradient scaler of precision=16-mixed asks the GPU at each step whether to skip it"
    if trainer.world_size > 1:
        return "several devices wait for each other within a step"
    if not place.batches.on_device:
        return "the pictures lie in the host's memory"
    if not is_recordable(optimizer):
        return f"{type(optimizer).__name__} keeps numbers on the host that change from step to step"
    return None


def is_recordable(optimizer: Optimizer) -> bool:
    """Whether the optimizer says that it can: by torch's key `capturable`, or by an attribute of its class."""
    return getattr(optimizer, "recordable", False) or all("capturable" in group for group in optimizer.param_groups)


def _numbers_of(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group that a schedule may move: numbers, and Adam's pair of them."""
    return {name: value for name, value in group.items() if name in ("lr", "betas") or isinstance(value, float)}
