"""Train: one run, or with `-m` a sweep. `python train.py --help` lists everything that can be set."""

import hydra
from omegaconf import DictConfig

from cifarlab.verbs.command_line import call
from cifarlab.verbs.help import asks_for_help, show_help
from cifarlab.verbs.train import asks_to_resume, resume, train


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    train(config)


if __name__ == "__main__":
    if asks_for_help():
        call(show_help)
    elif asks_to_resume():
        call(resume, composed=False)
    else:
        call(main)
