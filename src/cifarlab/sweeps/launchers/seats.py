"""Which job runs on which GPU: a queue of seats."""

from __future__ import annotations

from collections.abc import Sequence


class Seats:
    """GPUs with room for some jobs each. A job on one GPU gets the least loaded; one on several gets them whole.

    Args:
        gpus: their names, as CUDA_VISIBLE_DEVICES has them.
        per_gpu: how many jobs share a GPU.
    """

    def __init__(self, gpus: Sequence[str], per_gpu: int) -> None:
        self.per_gpu = per_gpu
        self._load = dict.fromkeys(gpus, 0)

    @property
    def free(self) -> int:
        """How many jobs on one GPU could begin now."""
        return sum(self.per_gpu - load for load in self._load.values())

    def take(self, count: int) -> tuple[str, ...] | None:
        """Seats for a job on so many GPUs; None while they are taken.

        A job that wants more GPUs than there are gets them all: it fails with its own words.
        """
        count = min(count, len(self._load))
        weight = 1 if count == 1 else self.per_gpu
        fitting = [gpu for gpu, load in self._load.items() if load + weight <= self.per_gpu]
        taken = tuple(sorted(fitting, key=self._load.__getitem__)[:count])
        if len(taken) < count:
            return None
        for gpu in taken:
            self._load[gpu] += weight
        return taken

    def give_back(self, taken: Sequence[str]) -> None:
        """A job has ended."""
        weight = 1 if len(taken) == 1 else self.per_gpu
        for gpu in taken:
            self._load[gpu] -= weight
