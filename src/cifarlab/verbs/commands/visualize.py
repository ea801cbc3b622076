"""Visualize: `python visualize.py run=RUN_DIR figure=NAME` draws a figure of a run, of a data set or of any net."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import CONF, asks_for_help, call, refuse_multirun
from cifarlab.verbs.start import begin
from cifarlab.verbs.visualize import show_help, visualize


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="visualize")
def compose(config: DictConfig) -> None:
    visualize(config)


def main() -> None:
    """``python visualize.py`` and ``cifarlab visualize``."""
    if asks_for_help():
        show_help()
    else:
        refuse_multirun("visualize.py draws one figure at a time and takes no -m")
        call(compose)


if __name__ == "__main__":
    begin()
    main()
