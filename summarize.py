"""Table, statistics, figures and page of a sweep: `python summarize.py SWEEP_DIR` (see `--help`)."""

from cifarlab.verbs.start import begin
from cifarlab.verbs.summarize import main

if __name__ == "__main__":
    begin()
    raise SystemExit(main())
