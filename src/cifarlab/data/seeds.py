"""The three streams of randomness of a run, each with a seed of its own."""

from typing import NamedTuple


class Seeds(NamedTuple):
    """Seeds of the initial weights, of the order of the training pictures, and of their augmentation.

    The three are separate so that a study can hold two still and vary the third (Jordan, "Variance of neural
    network training", 2023, varies them so).
    """

    init: int
    order: int
    augment: int

    @classmethod
    def same(cls, seed: int) -> "Seeds":
        """All three from one number."""
        return cls(seed, seed, seed)
