"""The reports' numbers beside ours, and the runs that are missing: `python reproduce.py budget=600` (see `--help`)."""

from cifarlab.verbs.reproduce import main
from cifarlab.verbs.start import begin

if __name__ == "__main__":
    begin()
    raise SystemExit(main())
