"""``python evaluate.py run=...``: test, doubt, join, use and share trained nets."""

from __future__ import annotations

import sys
import textwrap

from omegaconf import DictConfig, OmegaConf

from cifarlab.evaluation.runs import runs_in
from cifarlab.job.configure import ConfigError, allowed, config_parameters, describe_call
from cifarlab.verbs.evaluation_options import Options
from cifarlab.verbs.leaving import leave
from cifarlab.verbs.reporting import say

USAGE = """\
usage: python evaluate.py run=RUN_DIR [option=value ...]    test the best weights again; writes evaluation.json
       python evaluate.py run=SWEEP_DIR                     each finished run of a sweep, and their ensembles
       python evaluate.py run=RUN_DIR images=PATH           classify pictures of yours
       python evaluate.py run=RUN_DIR export=onnx           the net with its normalisation, for others

Options"""


def show_help() -> None:
    """Print every option."""
    from cifarlab.verbs.help import documented

    print(USAGE)
    for name, text in documented(Options).items():
        says = f"{text.removesuffix('.')}."
        if name not in ("data", "allow"):
            says += f" Allowed: {allowed(config_parameters(Options)[name].annotation)}"
        print(textwrap.fill(says, 118, initial_indent=f"  {name:10}  ", subsequent_indent=14 * " "))


def evaluate(config: DictConfig) -> None:
    """Hydra's task: what the options ask for, each file written whole; a fault is a line and an exit code."""
    try:
        given = {str(key): value for key, value in OmegaConf.to_object(config).items()}  # type: ignore[union-attr]
        if given.get("run") is None:
            raise ConfigError(["run=RUN_DIR is missing: the directory of a run, or of a sweep; --help shows more"])
        options = describe_call(Options, given, key="")()
        for path in options.runs:
            runs_in(path)
    except ValueError as error:
        leave(error)
    from cifarlab.training.divergence import Diverged  # and with it torch

    try:
        whole = _evaluate(options)
    except ValueError as error:
        leave(error)
    except Diverged as error:
        say(f"diverged: {error}")
        sys.exit(1)
    except OSError as error:  # a colleague's run, a full disk: what could be printed is
        say(str(error))
        sys.exit(1)
    if not whole:
        sys.exit(1)


def _evaluate(options: Options) -> bool:
    """Whether every finished run could be asked."""
    from cifarlab.verbs import evaluating

    if options.images is not None:
        evaluating.classify(options)
    elif options.export != "none":
        evaluating.export(options)
    elif options.is_one_run:
        evaluating.one(options)
    else:
        return evaluating.several(options)
    return True
