"""Evaluate: `python evaluate.py run=RUN_DIR` tests a run's best weights again, from its directory alone."""

from cifarlab.verbs.start import begin

if __name__ == "__main__":
    begin()
    from cifarlab.verbs.commands.evaluate import main

    main()
