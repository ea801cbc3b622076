"""Axes that a sweep cannot have, refused before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cifarlab.figures import OF_A_RUN, figure_names
from cifarlab.job.configure import ConfigError
from cifarlab.job.nodes import OF_A_SWEEP
from cifarlab.job.preflight import Planned
from cifarlab.result import is_replicate
from cifarlab.sweeps.names import bare

Axes = Mapping[str, Sequence[str]]


def refuse_axes_of_the_sweep(axes: Axes) -> None:
    """Refuse several values of a key that all cells share, of which only the first would count.

    Raises:
        ConfigError: there is such an axis.
    """
    shared = [key for key in map(bare, axes) if key in OF_A_SWEEP or key.startswith(("search.", "hydra.", "hydra/"))]
    if shared:
        raise ConfigError([f"{key}: a sweep has one value of it; give one" for key in shared])


def refuse_what_a_run_reads(of_hydra: Sequence[str]) -> None:
    """Refuse what Hydra does for a single run, and what is nowhere read in a sweep.

    Args:
        of_hydra: what was typed for Hydra itself.

    Raises:
        ConfigError: naming each.
    """
    typed = [bare(override).replace("'", "") for override in of_hydra]  # paths were quoted for Hydra
    places = [override for override in typed if override.startswith("hydra.run.")]
    others = [override for override in typed if override.startswith(("hydra.job.", "hydra.output_subdir"))]
    if places or others:
        raise ConfigError(
            [f"{override}: a sweep lies in multirun/NAME, which sweep=NAME chooses" for override in places]
            + [f"{override}: nothing reads it in a sweep" for override in others]
        )


def refuse_axes_outside_the_key(planned: Sequence[Planned], axes: Axes) -> None:
    """Refuse axes that do not tell cells apart, since their cells would be one: one folder, one result.

    The same value written in two ways (``1e-3,0.001``) makes two cells that are equal in everything, and stays one.

    Raises:
        ConfigError: naming the axes.
    """
    first: dict[str, Planned] = {}
    differing: dict[str, None] = {}
    for each in planned:
        other = first.setdefault(each.job.identity.key, each)
        if other is each:
            continue
        for group, part in each.job.parts.items():
            before = other.job.parts[group].plain()
            for name, value in part.plain().items():
                if value != before.get(name):
                    differing[name if group == "settings" else f"{group}.{name}"] = None
    named = [key for key in map(bare, axes) if any(path == key or path.startswith(f"{key}.") for path in differing)]
    if differing:
        keys = ", ".join(named or differing)
        raise ConfigError([f"{keys}: does not change a run's numbers, so it cannot tell cells apart; give one value"])


def refuse_figures_without_axis(asked: Sequence[str], axes: Sequence[str]) -> None:
    """Refuse a figure over a knob that is not swept: else the sweep would say so at its end."""
    knobs = dict.fromkeys(axis.rpartition(".")[2] for axis in axes if not is_replicate(axis))
    known = [*OF_A_RUN, *figure_names([*dict.fromkeys([*axes, *knobs])])]
    wrong = [name for name in asked if name not in known]
    if wrong:
        shown = [*OF_A_RUN, *figure_names([*knobs])]
        raise ConfigError([f"figures={name}: allowed in this sweep: {', '.join(shown)}" for name in wrong])
