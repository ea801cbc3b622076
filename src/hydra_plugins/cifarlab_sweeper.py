"""The doorway through which Hydra finds our sweeper: it takes plugin classes only from here."""

from cifarlab.sweeps.sweeper import ResumingSweeper


class CifarlabSweeper(ResumingSweeper):
    """See `cifarlab.sweeps.sweeper.ResumingSweeper`."""
