"""Evaluate: `python evaluate.py run=RUN_DIR` tests a run's best weights again, from its directory alone."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import CONF, asks_for_help, call, refuse_multirun
from cifarlab.verbs.evaluate import evaluate, show_help
from cifarlab.verbs.start import begin


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def compose(config: DictConfig) -> None:
    evaluate(config)


def main() -> None:
    """``python evaluate.py`` and ``cifarlab evaluate``."""
    if asks_for_help():
        show_help()
    else:
        refuse_multirun("evaluate.py takes no -m: run=SWEEP_DIR tests all runs of a sweep")
        call(compose)


if __name__ == "__main__":
    begin()
    main()
