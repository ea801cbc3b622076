"""How many jobs a GPU is given: found out with the first cells of a sweep."""

from __future__ import annotations

import statistics

MOST = 8  # jobs on one GPU
WORTH = 1.15  # times as many pictures a second in all: what twice the jobs must give to be kept


class Packing:
    """One job a GPU at first, then two, four, eight, for as long as that trains more pictures a second in all.

    Each number of jobs is judged by as many cells that ended under it. Cells of different nets differ in speed, so the
    rule is for sweeps whose cells are much alike; ``jobs_per_gpu=N`` overrules it.

    Attributes:
        jobs: on each GPU now.
        settled: whether it stays so.
    """

    def __init__(self) -> None:
        self.jobs = 1
        self.settled = False
        self._speeds: list[float] = []
        self._before = 0.0

    def learn(self, images_per_second: float | None, *, jobs: int) -> None:
        """A cell has ended.

        Args:
            images_per_second: of its training; None where it has none to tell.
            jobs: on a GPU when it began.
        """
        if self.settled or images_per_second is None or jobs != self.jobs:
            return
        self._speeds.append(images_per_second)
        if len(self._speeds) < self.jobs:
            return
        in_all = self.jobs * statistics.fmean(self._speeds)
        self._speeds = []
        if in_all < WORTH * self._before:
            self.jobs, self.settled = self.jobs // 2, True
        elif self.jobs == MOST:
            self.settled = True
        else:
            self.jobs, self._before = 2 * self.jobs, in_all
