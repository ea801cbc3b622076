"""The doorway through which Hydra finds our launchers: it takes plugin classes only from here."""

from cifarlab.sweeps.local import LocalLauncher


class CifarlabLocalLauncher(LocalLauncher):
    """See `cifarlab.sweeps.local.LocalLauncher`."""
