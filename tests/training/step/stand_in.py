"""What records and replays on the CPU, where there are no CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# A GPU that records refuses these: a number for the host, a tensor from the host, a shape that depends on values.
REFUSED = ("aten._local_scalar_dense", "aten.lift_fresh", "aten.nonzero", "aten.is_nonzero", "aten.equal")


class Again:
    """Replays by calling the function again, on the tensors that it was recorded with."""

    def __init__(self, device: torch.device) -> None:
        self.recordings = 0

    def call(self, function: Callable[[], None]) -> None:
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1
        return function


class Tape(Again):
    """Replays tensor operation by tensor operation, in the memory of the recording: nothing of Python is repeated.

    So it does with a number of the host, with a tensor that has been replaced, and with a question to the device what a
    CUDA graph does with them. As there, recording leaves everything as it was.
    """

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1
        generator = torch.get_rng_state()
        tape = _Tape()
        try:
            with tape:
                function()
        finally:
            tape.give_back()
            torch.set_rng_state(generator)
        return tape.replay


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.made: set[int] = set()
        self.kept: list[Tensor] = []
        self.found: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        named = named or {}
        if str(operation).startswith(REFUSED):
            raise RuntimeError(f"{operation} is not permitted when a stream is capturing")
        taken = [each for each in tree_leaves((given, named)) if isinstance(each, Tensor)]
        for tensor in taken:
            place = tensor.untyped_storage().data_ptr()
            if place not in self.made and place not in self.found:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self.found[place] = whole, whole.clone()
        outcome = operation(*given, **named)
        places = {tensor.untyped_storage().data_ptr() for tensor in taken}
        results = [each for each in tree_leaves(outcome) if isinstance(each, Tensor)]
        self.made |= {each.untyped_storage().data_ptr() for each in results} - set(self.found)
        self.kept += results
        own = [each for each in results if each.untyped_storage().data_ptr() not in places]
        self.operations.append((operation, given, named, own if len(own) == len(results) else []))
        return outcome

    @torch.no_grad()
    def give_back(self) -> None:
        """Everything that was there before as it was before."""
        for whole, copy in self.found.values():
            whole.copy_(copy)

    @torch.no_grad()
    def replay(self) -> None:
        for operation, given, named, results in self.operations:
            outcome = operation(*given, **named)
            again = [each for each in tree_leaves(outcome) if isinstance(each, Tensor)]
            for kept, fresh in zip(results, again if results else [], strict=True):
                kept.copy_(fresh)
