"""``python visualize.py``: one figure, of a run or of what the command line chooses, as PNG, SVG or PDF."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cifarlab.job.configure import ConfigError, allowed, config_parameters
from cifarlab.reading import leads_out, link_out
from cifarlab.result import Result, digest, write_bytes
from cifarlab.verbs.figure_options import NAMES, READS, Options, read_options
from cifarlab.verbs.leaving import leave

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What was typed and is no part of a file's name.
UNNAMED = ("figure", "run", "allow", "data.root", "format", "dpi")
USAGE = """\
usage: python visualize.py run=RUN_DIR figure=NAME [option=value ...]    of a run; the file goes into RUN_DIR/figures/
       python visualize.py figure=NAME [data=NAME] [augment=[NAME,...]] [model=NAME] [option=value ...]
                                                                         of these; the file goes into figures/
       python visualize.py model=timm model.name=resnet50.tv_in1k model.pretrained=true figure=filters

Prints what there is to say and, on the last line, the path of the file. Keys of data, augment and model are listed by
python train.py --help. Beside a run stand only the options below and data.root.

Figures, and the options that each reads"""


def show_help() -> None:
    """Print the figures, what each reads, and every option."""
    from cifarlab.verbs.help import documented

    print(USAGE)
    for figure, read in READS.items():
        print(f"  {figure:15}{', '.join(read)}")
    print("\nOptions")
    for name, text in documented(Options).items():
        says = f"{text.removesuffix('.')}. Allowed: {allowed(config_parameters(Options)[name].annotation)}"
        print(textwrap.fill(says, 118, initial_indent=f"  {name:13}  ", subsequent_indent=17 * " "))


def visualize(config: DictConfig) -> None:
    """Hydra's task: draw, save, print what there is to say, and the file's path on the last line."""
    typed = dict(item.lstrip("+").partition("=")[::2] for item in HydraConfig.get().overrides.task)
    try:
        options = read_options(config, typed)
        figure = draw_curves(options) if options.figure == "curves" else draw(config, typed, options)
        path = (options.run or Path()) / "figures" / f"{file_name(options.figure, typed)}.{options.format}"
        save(figure, path, options)
    except ValueError as error:
        leave(error)
    print(path)


def draw(config: DictConfig, typed: Mapping[str, str], options: Options) -> Figure:
    """A figure that needs torch: of the run's, or the command line's, data and net."""
    from cifarlab.figures.captions import caption
    from cifarlab.job.directory import reopen
    from cifarlab.job.read import read_job
    from cifarlab.verbs.drawing import DRAWN
    from cifarlab.verbs.subject import Chosen, OfRun, Subject

    subject: Subject
    if options.run is not None:
        root = str(config.data.root) if "data.root" in typed else None
        subject = OfRun(reopen(options.run, allow=options.allow, root=root), options.run)
    else:
        kept = [str(key) for key in config if key not in NAMES or key in ("seed", "allow")]
        job = read_job(OmegaConf.masked_copy(config, kept), cast(DictConfig, HydraConfig.get()))
        subject = Chosen(job, options.weights, options.classes)
    figure = DRAWN[options.figure](subject, options)
    caption(figure, subject.in_words(options.figure, options.split))
    return figure


def draw_curves(options: Options) -> Figure:
    """Loss, accuracy and learning rate by epoch.

    Raises:
        ConfigError: there is no run, or it has no history.
    """
    if options.run is None:
        raise ConfigError(["figure=curves: run=RUN_DIR is missing; the curves are those of a run"])
    from cifarlab.figures.captions import caption, in_words
    from cifarlab.figures.curves import curves
    from cifarlab.summary.history import read_history

    history = read_history(options.run / "history.csv")
    if not history:
        raise ConfigError([f"{options.run / 'history.csv'}: there is no history of epochs to draw"])
    try:
        data = str(Result.read(options.run).knobs.get("data", ""))
    except (OSError, ValueError):  # it has not ended, or its record is damaged: the curves are there all the same
        data = ""
    figure = curves(history)
    caption(figure, in_words(options.run, data=data))
    return figure


def file_name(figure: str, typed: Mapping[str, str]) -> str:
    """``ascent+label-3+steps-100``: the figure and what was typed for it, in letters that every file system takes."""
    named = {key: text for key, text in typed.items() if key not in UNNAMED and not key.startswith("hydra.")}
    if not named:
        return figure
    from cifarlab.sweeps.names import fitting, safe

    for key in {"weights", "model.weights"} & set(named):
        named[key] = Path(named[key].strip("'\"")).stem
    name = "+".join([figure, *(f"{safe(key)}-{safe(text)}" for key, text in sorted(named.items()))])
    return fitting(name, digest(named))


def save(figure: Figure, path: Path, options: Options) -> None:
    """Write the file in one step; a link in its place is replaced, not followed.

    Raises:
        ConfigError: it cannot be written there.
    """
    from cifarlab.figures.formats import rendered

    if leads_out(path.parent, path.parent.parent):
        raise ConfigError([str(link_out(path.parent, path.parent.parent))])
    drawn = rendered(figure, options.format, options.dpi)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, drawn)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written ({error.strerror})"]) from None
