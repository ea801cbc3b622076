"""Visualize: `python visualize.py run=RUN_DIR figure=NAME` draws a figure of a run, of a data set or of any net."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import call
from cifarlab.verbs.visualize import refuse_multirun, visualize


@hydra.main(version_base="1.3", config_path="conf", config_name="visualize")
def main(config: DictConfig) -> None:
    visualize(config)


if __name__ == "__main__":
    refuse_multirun()
    call(main)
