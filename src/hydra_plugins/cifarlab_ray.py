"""The doorway through which Hydra finds our launcher for Ray; needs no ray before it is used."""

from cifarlab.sweeps.ray_launcher import RayLauncher


class CifarlabRayLauncher(RayLauncher):
    """See `cifarlab.sweeps.ray_launcher.RayLauncher`."""
