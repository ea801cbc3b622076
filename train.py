"""Train: one run, or with `-m` a sweep. `python train.py --help` lists everything that can be set."""

from cifarlab.verbs.commands.train import main

if __name__ == "__main__":
    main()
