"""The doorway through which Hydra finds our launcher for Ray; needs no ray before it is used."""

from cifarlab.sweeps.launchers.ray_launcher import RayLauncher


class CifarlabRayLauncher(RayLauncher):
    __doc__ = RayLauncher.__doc__  # its keys stand in --help
