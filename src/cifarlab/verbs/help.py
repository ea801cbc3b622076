"""``python train.py --help``: what can be set, read from the signatures that check it."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cifarlab.job.configure import ConfigError, Description, allowed, config_key, config_parameters, describe_call
from cifarlab.job.job import Job
from cifarlab.job.nodes import SHORT_NAMES
from cifarlab.job.read import read_job
from cifarlab.job.yaml_file import read_text
from cifarlab.sweeps.launchers.launching import CellLauncher
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.settings import SweepSettings
from cifarlab.verbs.command_line import CONF, CONFIG_DIR, prepare
from cifarlab.verbs.paths import expanded

USAGE = """\
[bold]python train.py[/] \\[key=value ...]                     one run, in outputs/
[bold]python train.py -m[/] key=value,value ... \\[key=value]   a sweep, in multirun/; the same command again resumes it
[bold]python train.py experiment=NAME[/]                      an experiment of the reports
[bold]python train.py resume=RUN_DIR[/]                       go on with a stopped run
[bold]python train.py model=NAME --help[/]                    this page for another model, optimizer, ...
"""
SUITS = "suits"  # the group of files MODEL_OPTIMIZER.yaml, chosen by these two
LENGTH = "length"  # the group of files RECIPE_EXPERIMENT.yaml, likewise
DOCUMENTED = re.compile(r"^(\w+): (.*)$")


def show_help(conf: Path = CONF) -> None:
    """Print the page for the options that the other arguments choose."""
    own = config_dir(sys.argv[1:])
    typed = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
    overrides = [prepare(argument, conf) for argument in (searching(own, typed) if own else typed)]
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("train", overrides=overrides, return_hydra_config=True)
    job = read_job(config, config.hydra)
    folders = [conf, *([own] if own else [])]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(USAGE)
    _print_groups(console, folders)
    _print_suited(console, folders)
    _print_experiments(console, folders)
    _print_keys(console, job)
    _print_sweep(console, job)
    _print_launcher(console, cast(dict[str, Any], OmegaConf.to_container(config.hydra.launcher, resolve=True)))


def config_dir(arguments: Sequence[str]) -> Path | None:
    """The folder that ``--config-dir`` names.

    Raises:
        ConfigError: it is none.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*CONFIG_DIR)
    given = parser.parse_known_args(arguments)[0].config_dir
    if given is None:
        return None
    folder = expanded(given).absolute()
    if not folder.is_dir():
        raise ConfigError([f"--config-dir {given}: there is no such folder"])
    return folder


def searching(folder: Path, typed: Sequence[str]) -> list[str]:
    """The arguments, with a folder that Hydra looks into beside those that were typed as ``hydra.searchpath``."""
    others: list[str] = []
    paths: list[str] = []
    for argument in typed:
        if argument.lstrip("+").startswith("hydra.searchpath="):
            value = OverridesParser.create().parse_override(argument).value()
            paths = [str(each) for each in value] if isinstance(value, list) else [str(value)]
        else:
            others.append(argument)
    quoted = ",".join(f"'{path}'" for path in (*paths, f"file://{folder}"))
    return [*others, f"hydra.searchpath=[{quoted}]"]


def options(folders: Sequence[Path], group: str) -> list[Path]:
    """The files of a group; of two of one name Hydra takes the first."""
    files = [file for folder in reversed(folders) for file in (folder / group).glob("*.yaml")]
    return [file for _, file in sorted({file.stem: file for file in files}.items())]


def _print_groups(console: Console, folders: Sequence[Path]) -> None:
    console.print("[bold]Groups[/] (GROUP=OPTION; augment and logger take lists: augment=\\[crop,flip])")
    table = _table()
    found = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    for group in sorted(found - {"hydra", "experiment", SUITS, LENGTH}):
        table.add_row(group, escape(", ".join(file.stem for file in options(folders, group))))
    launchers = [file.stem for file in options(folders, "hydra/launcher")]
    table.add_row("hydra/launcher", escape(", ".join(["basic", *launchers])))
    console.print(table)


def suited(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """``(what is chosen, what suits it)``: ``("model=tiny_vgg optimizer=sgd", "lr=0.02")``, by the config tree."""
    optimizers = [file.stem for file in options(folders, "optimizer")]
    for file in options(folders, SUITS):
        model, _, optimizer = file.stem.rpartition("_")
        if optimizer in optimizers:
            said = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file)))
            yield f"model={model} optimizer={optimizer}", " ".join(f"{key}={value}" for key, value in said.items())
    for file in options(folders, "data"):
        node = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file)))
        for entry in node.get("defaults", ()):
            for key, value in entry.items() if isinstance(entry, dict) else ():
                if key.startswith("override /augment@"):
                    yield f"data={file.stem}", f"augment=[{','.join([value] if isinstance(value, str) else value)}]"


def _print_suited(console: Console, folders: Sequence[Path]) -> None:
    console.print(
        "[bold]What suits a model or data set[/] (where nothing is typed, nor an experiment or recipe says it)"
    )
    table = _table()
    for chosen, said in suited(folders):
        table.add_row(chosen, escape(said))
    console.print(table)


def _print_experiments(console: Console, folders: Sequence[Path]) -> None:
    console.print("[bold]Experiments[/] (experiment=NAME)")
    table = _table()
    for path in options(folders, "experiment"):
        table.add_row(path.stem, escape(headline(path)))
    console.print(table)
    lengths = {file.stem: OmegaConf.select(OmegaConf.load(file), "epochs") for file in options(folders, LENGTH)}
    said = ", ".join(f"{name.partition('_')[2]} {epochs}" for name, epochs in lengths.items())
    console.print(f"[bold]Epochs of recipe=strong[/], where it has a length of its own: {escape(said)}")


def headline(path: Path) -> str:
    """The first sentence of a YAML file's comments, or why it cannot be read."""
    try:
        text = read_text(path)
    except ConfigError as error:
        return str(error)
    lines = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")]
    words = " ".join(line for line in lines if not line.startswith("@package")).removeprefix("What: ")
    return re.split(r"(?<=\.)\s", words, maxsplit=1)[0]


def _print_keys(console: Console, job: Job) -> None:
    for group in sorted(job.parts, key=lambda name: name != "settings"):
        part = job.parts[group]
        chosen = job.knobs["augment"] if group == "augment" else job.choices.get(group)
        option = f" ({chosen})" if chosen else ""
        console.print(f"[bold]{'At the top' if group == 'settings' else group}[/]{escape(option)}")
        console.print(_keys(part, "" if group == "settings" else f"{group}.", SHORT_NAMES.get(group, ())))


def _print_sweep(console: Console, job: Job) -> None:
    """What a sweep reads beside the keys of its runs."""
    console.print("[bold]Of a sweep[/] (with -m)")
    own = {key: value for key, value in job.beside.items() if key != "search"}
    console.print(_keys(describe_call(SweepSettings, own, key=""), ""))
    console.print("[bold]search[/] (with -m)")
    console.print(_keys(describe_call(SearchSettings, job.beside.get("search") or {}, key="search"), "search."))


def _print_launcher(console: Console, node: dict[str, Any]) -> None:
    """The keys of a launcher of ours; Hydra's own has none."""
    kind = get_class(node.pop("_target_"))
    if issubclass(kind, CellLauncher):
        console.print("[bold]hydra.launcher[/] (with -m)")
        console.print(_keys(describe_call(kind, node, key="hydra.launcher"), "hydra.launcher."))


def _keys(part: Description, prefix: str, short_names: Sequence[str] = ()) -> Table:
    """A row a key: name, value now, what is allowed, what it does."""
    table = _table()
    texts = documented(part.target)
    for name, parameter in config_parameters(part.target).items():
        key, value = config_key(name), part.arguments[name]
        shown = key if prefix and key in short_names else prefix + key
        value = "..." if isinstance(value, Description) else _written(value)
        text = texts.get(name, "").replace("``", "")
        table.add_row(*map(escape, (shown, value, allowed(parameter.annotation), text)))
    for name in part.arguments.keys() - config_parameters(part.target).keys():  # the user's own
        table.add_row(*_own(part.arguments[name], f"{prefix}{name}"))
    return table


def _own(part: Description, key: str) -> Sequence[str]:
    """The row of an object that is not of this package: its keys with what they are, and what it says of itself."""
    values = (f"{name.removeprefix(f'{key}.')}={_written(value)}" for name, value in part.scalars(f"{key}."))
    about = (inspect.getdoc(part.target) or "").partition("\n")[0]
    return [escape(text) for text in (key, "...", f"a mapping of {', '.join(values) or 'nothing'}", about)]


def documented(target: Callable[..., Any]) -> Mapping[str, str]:
    """Parameter -> its line in the docstring's ``Args:`` section."""
    texts: dict[str, str] = {}
    lines = (inspect.getdoc(target) or "").partition("Args:\n")[2].splitlines()
    name = ""
    for line in lines:
        if line and not line.startswith(" "):
            break
        found = DOCUMENTED.match(line[4:])
        if found:
            name = found[1]
            texts[name] = found[2]
        elif name and line.strip():
            texts[name] += f" {line.strip()}"
    return texts


def _written(value: Any) -> str:
    """A value as YAML writes it."""
    return json.dumps(value).strip('"')


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(no_wrap=True, style="cyan")
    return table
