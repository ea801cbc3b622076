"""Evaluate: `python evaluate.py run=RUN_DIR` tests a run's best weights again, from its directory alone."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import call
from cifarlab.verbs.evaluate import evaluate


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    evaluate(config)


if __name__ == "__main__":
    call(main)
