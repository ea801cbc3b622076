"""What keeps a run from beginning although it was asked for rightly."""


class Occupied(Exception):
    """Another process is at work in the run directory."""


class UnusableCheckpoint(ValueError):
    """A checkpoint is damaged, or of another run; the message names the file and the way out."""
