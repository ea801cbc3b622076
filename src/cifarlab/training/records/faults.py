"""What keeps a run from beginning although it was asked for rightly."""


class Occupied(Exception):
    """Another process is at work in the run directory."""


class UnusableCheckpoint(ValueError):
    """A checkpoint is damaged, or of another run; the message names the file and the way out."""


class DamagedCheckpoint(UnusableCheckpoint):
    """It is none, or a part of one, or what belongs to it is not there: nobody can go on with it."""
