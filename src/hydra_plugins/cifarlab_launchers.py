"""The doorway through which Hydra finds our launchers: it takes plugin classes only from here."""

from cifarlab.sweeps.launchers.local import LocalLauncher


class CifarlabLocalLauncher(LocalLauncher):
    __doc__ = LocalLauncher.__doc__  # its keys stand in --help
