"""Train: one run, or with `-m` a sweep. `python train.py --help` lists everything that can be set."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import CONF, asks_for_help, call
from cifarlab.verbs.help import show_help
from cifarlab.verbs.start import begin
from cifarlab.verbs.train import asks_to_resume, resume, train


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def compose(config: DictConfig) -> None:
    train(config)


def main() -> None:
    """``python train.py`` and ``cifarlab train``."""
    if asks_for_help():
        call(show_help)
    elif asks_to_resume():
        call(resume, composed=False)
    else:
        call(compose)


if __name__ == "__main__":
    begin()
    main()
