"""Visualize: `python visualize.py run=RUN_DIR figure=NAME` draws a figure of a run, of a data set or of any net."""

from cifarlab.verbs.start import begin

if __name__ == "__main__":
    begin()
    from cifarlab.verbs.commands.visualize import main

    main()
