"""Train: one run, or with `-m` a sweep. `python train.py --help` lists everything that can be set."""

from cifarlab.verbs.start import begin

if __name__ == "__main__":
    begin()
    from cifarlab.verbs.commands.train import main

    main()
