"""Evaluate: `python evaluate.py run=RUN_DIR` tests a run's best weights again, from its directory alone."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import CONF, call, refuse_multirun
from cifarlab.verbs.evaluate import evaluate


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def compose(config: DictConfig) -> None:
    evaluate(config)


def main() -> None:
    """``python evaluate.py`` and ``cifarlab evaluate``."""
    refuse_multirun("evaluate.py tests one run at a time and takes no -m")
    call(compose)


if __name__ == "__main__":
    main()
