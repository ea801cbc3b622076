"""The doorway through which Hydra finds our launcher for Slurm; needs no submitit before it is used."""

from cifarlab.sweeps.launchers.slurm import SlurmLauncher


class CifarlabSlurmLauncher(SlurmLauncher):
    __doc__ = SlurmLauncher.__doc__  # its keys stand in --help
