"""Evaluate: `python evaluate.py run=RUN_DIR` tests a run's best weights again, from its directory alone."""

from cifarlab.verbs.commands.evaluate import main

if __name__ == "__main__":
    main()
