"""``cifarlab VERB ...``, the command of an installed package: what ``python VERB.py ...`` is in a checkout."""

from __future__ import annotations

import os
import sys

from cifarlab.verbs.start import begin

HELP = """\
usage: cifarlab VERB [ARGUMENT ...]

  train      one run, or with -m a sweep
  evaluate   test a run's best weights again: run=RUN_DIR
  visualize  draw a figure of a run, of a data set or of any net
  summarize  table, statistics, figures and page of a sweep: SWEEP_DIR
  reproduce  the five reports' numbers beside ours; with budget=SECONDS the runs that are missing

cifarlab VERB --help says what a verb takes."""
VERBS = ("train", "evaluate", "visualize", "summarize", "reproduce")


def main() -> int:
    """Become the verb's own process, so that what it starts anew (cells, devices) is started as by its script.

    Returns:
        The exit code where no verb is started: 0 for the help, 2 for a verb that does not exist.
    """
    begin()
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(HELP)
        return 0
    if verb not in VERBS:
        print(f"cifarlab {verb}: no such verb; allowed: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    os.execv(sys.executable, [sys.executable, "-m", f"cifarlab.verbs.commands.{verb}", *arguments])
