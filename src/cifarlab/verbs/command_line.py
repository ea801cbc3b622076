"""What all verbs share at the command line: paths as they are typed, errors without tracebacks."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab.job.configure import ConfigError
from cifarlab.job.explain import explain
from cifarlab.sweeps.grid import OF_THE_GRID
from cifarlab.verbs.config_files import read_config_files
from cifarlab.verbs.leaving import leave, leaving
from cifarlab.verbs.paths import expanded
from cifarlab.verbs.run_directory import cause_in_the_system, unique
from cifarlab.verbs.start import stoppable

# In a wheel the tree lies inside the package, in a checkout at the top of the repository.
PACKAGED_CONF = Path(__file__).resolve().parents[1] / "conf"
CONF = PACKAGED_CONF if PACKAGED_CONF.is_dir() else Path(__file__).resolve().parents[3] / "conf"
# Keys whose value is a path: it may hold what Hydra's grammar would take for a list, a sweep or an assignment.
PATH_KEYS = (
    "run", "resume", "continue_from", "root", "data.root", "weights", "model.weights", "images", "hydra.run.dir"
)  # fmt: skip
CONFIG_DIR = ("--config-dir", "-cd")  # Hydra's own, for a folder of the user's beside the config tree
# Flags of Hydra's that an argument of their own follows.
WITH_VALUE = (
    *CONFIG_DIR, "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p",
    "--experimental-rerun",
)  # fmt: skip
PATH_OVERRIDE = re.compile(rf"^(\+{{0,2}}(?:{'|'.join(re.escape(key) for key in PATH_KEYS)}))=(.*)$", re.DOTALL)


def call(main: Callable[[], None], *, composed: bool = True) -> None:
    """Run a verb; if Hydra composes its config, the arguments are rewritten for Hydra first.

    What the user can mend (a `ValueError` of ours, an error of Hydra's grammar or composition) is one message on
    standard error and exit code 2; what the system refuses, or another process, is one line and exit code 1; a
    traceback means a fault of the program.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints its errors in its own words and leaves
    if not os.environ.get("CIFARLAB_DATA", "unset"):
        del os.environ["CIFARLAB_DATA"]  # else data.root would be the current directory
    register_resolvers()
    read_config_files()
    with leaving():
        try:
            if composed:
                prepared = [
                    prepare(argument) if before not in CONFIG_DIR else str(expanded(argument))
                    for before, argument in itertools.pairwise(sys.argv)
                ]
                refuse_what_is_no_override(sys.argv[1:])
                sys.argv[1:] = flags_first(prepared)
            with stoppable():
                main()
        except (HydraException, OmegaConfBaseException) as error:
            if refused := cause_in_the_system(error):  # of `unique`, which makes a folder
                raise refused from None
            raise ConfigError([explain(error)]) from None


def flags_first(arguments: Sequence[str]) -> list[str]:
    """The same arguments, overrides last: Hydra's parser does not know those on both sides of a flag."""
    flags: list[str] = []
    overrides: list[str] = []
    for before, argument in itertools.pairwise(("", *arguments)):
        (flags if argument.startswith("-") or before in WITH_VALUE else overrides).append(argument)
    return flags + overrides


def refuse_what_is_no_override(arguments: Sequence[str]) -> None:
    """Refuse ``--model``, ``--epochs=3`` and a bare path, which Hydra would answer with its own flags or its grammar.

    Raises:
        ConfigError: with the way in which it is typed here.
    """
    flags = get_args_parser()._option_string_actions
    faults: list[str] = []
    for before, argument in itertools.pairwise(("", *arguments)):
        name, equals, value = argument.partition("=")
        if argument.startswith("--") and not any(flag.startswith(name) for flag in flags):
            meant = f"{name[2:]}={value if equals else 'VALUE'}"
            faults.append(f"{argument}: there is no such flag; keys are typed without dashes: {meant}")
        elif not equals and argument[:1] not in ("-", "~") and before not in WITH_VALUE and not faults:
            key = "resume" if Path(sys.argv[0]).stem == "train" else "run"
            meant = f"{key}={argument}" if expanded(argument).exists() else "epochs=10"
            faults.append(f"{argument}: KEY=VALUE is needed, such as {meant}")
    if faults:
        raise ConfigError(faults)


def asks_for_help() -> bool:
    """Whether the command line holds ``--help`` or ``-h``."""
    return any(argument in ("--help", "-h") for argument in sys.argv[1:])


def refuse_multirun(said: str) -> None:
    """End with exit code 2 where there is ``-m``: Hydra would make a sweep's directory before anything is looked at."""
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        leave(ConfigError([said]))


def prepare(argument: str, conf: Path | None = None) -> str:
    """An argument as Hydra is to read it.

    Paths are quoted; one mapping to ``exclude`` or ``zip`` becomes a list of one. ``key=value`` becomes
    ``++key=value``: the signatures know all keys, the YAML files only those that differ from a default, and whether a
    key exists is checked against the signatures later.

    Args:
        argument: as typed.
        conf: the config tree, whose folders are the groups.

    Raises:
        ConfigError: ``~key``, or a group with a value that is no name.
    """
    conf = conf or CONF
    if argument.startswith(tuple(f"{flag}=" for flag in CONFIG_DIR)):
        flag, _, folder = argument.partition("=")
        return f"{flag}={expanded(folder)}"
    if argument.startswith("~"):
        raise ConfigError([f"{argument}: nothing can be taken away; choose another option, or set the key to null"])
    argument = quote_path(argument)
    key, equals, value = argument.partition("=")
    if key in OF_THE_GRID and value.startswith("{"):  # a list takes the place of an experiment's, a mapping joins it
        argument = f"{key}=[{value}]"
    is_group = "/" in key or "@" in key or (conf / key).is_dir()
    of_hydra = key.startswith("hydra.") and not key.startswith("hydra.launcher.")  # its keys are a signature's too
    if equals and is_group:
        refuse_what_names_no_option(key, argument, conf)
    if not equals or key.startswith(("+", "-")) or of_hydra or is_group:
        return argument
    return f"++{argument}"


def refuse_what_names_no_option(group: str, argument: str, conf: Path) -> None:
    """Refuse ``model=null`` and the like, about which Hydra would complain without naming the key.

    Raises:
        ConfigError: a value is neither a name nor a list.
    """
    override = OverridesParser.create().parse_override(argument)
    if isinstance(override.value(), Glob):
        return
    values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
    if all(isinstance(value, (str, list, QuotedString)) for value in values):
        return
    options = sorted(path.stem for path in (conf / group).glob("*.yaml"))
    hint = f" Did you mean {group}=none?" if "none" in options else ""
    raise ConfigError([f"{argument}: name an option of {group}, or leave it out.{hint} Allowed: {', '.join(options)}"])


def quote_path(argument: str) -> str:
    """``run=a/b=1,c=2`` -> ``run='a/b=1,c=2'``, so that Hydra reads the path as typed."""
    match = PATH_OVERRIDE.match(argument)
    if match is None or match[2][:1] in ("'", '"', "$") or not match[2]:
        return argument
    # Hydra itself would make a folder of the name "~"; the other paths are expanded by who reads them.
    path = match[2]
    if match[1].endswith("hydra.run.dir") and path.startswith("~"):
        path = str(expanded(path))
    # In Hydra's grammar a backslash is itself, but for those before a quotation mark.
    escaped = re.sub(r"(\\+)(?='|\Z)", r"\1\1", path).replace("'", "\\'")
    return f"{match[1]}='{escaped}'"


def register_resolvers() -> None:
    """``unique``, ``run_name`` and ``parent_name``, with which the config names the directory of a single run."""
    OmegaConf.register_new_resolver("unique", unique, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("parent_name", _parent_name, replace=True)


def _parent_name(directory: str | None) -> str | None:
    """What the folder of the run that this one goes on from is called, without the date before it."""
    return None if directory is None else re.sub(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_", "", Path(directory).name)


def _run_name(*parts: object) -> str:
    chosen: Sequence[str] = [str(part) for part in parts if part not in (None, "None", "null", "")]
    return chosen[0] if chosen else "run"
