"""Which knobs a run has, and which of them tell the settings of a sweep apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cifarlab.result import is_replicate
from cifarlab.summary.values import label, parse, plain

Record = dict[str, Any]
Knobs = Mapping[str, Any]


def knob_name(axis: str, records: Sequence[Record]) -> str:
    """The name under which results record an axis: `model.kernel_size` is the knob `kernel_size`."""
    short = axis.rpartition(".")[2]
    known = set().union(*(record["knobs"] for record in records))
    return short if axis not in known and short in known else axis


def knobs_of(record: Record, axes: Iterable[str]) -> dict[str, Any]:
    """The knobs of a run, with its further seeds and those axes that only its overrides tell."""
    knobs = {knob: plain(value) for knob, value in record["knobs"].items()}
    for key, text in record["overrides"].items():
        for name in (key, key.rpartition(".")[2]):
            if name in axes or is_replicate(name):
                knobs.setdefault(name, parse(text))
    if record.get("seed") is None:
        record["seed"] = knobs.get("seed")
    return knobs


def axes_and_others(records: Sequence[Record], swept: Sequence[str], planned: bool) -> tuple[list[str], list[str]]:
    """Axes, and the other knobs that vary: those that the axes determine, as `optimizer` determines `momentum`.

    Args:
        swept: the axes that commands name. planned: whether any command named axes; without, each varying knob is one.
    """
    names = dict.fromkeys(knob for record in records for knob in record["knobs"] if not is_replicate(knob))
    axes = list(swept)
    others: list[str] = []
    for name in names:
        having = [record["knobs"] for record in records if name in record["knobs"]]
        if name in axes or len({label(knobs[name]) for knobs in having}) < 2:
            continue
        (others if _determined(name, axes, having, jointly=planned) else axes).append(name)
    return axes, others


def _determined(knob: str, axes: Sequence[str], having: Sequence[Knobs], jointly: bool) -> bool:
    """Whether a knob is a function of all the axes together or, where no command names axes, of one of them."""
    sources = [tuple(axes)] if jointly and axes else [(axis,) for axis in axes]
    return any(_is_function(knob, source, having) for source in sources)


def _is_function(knob: str, source: Sequence[str], having: Sequence[Knobs]) -> bool:
    settings = [tuple(label(knobs.get(axis)) for axis in source) for knobs in having]
    return len({*zip(settings, (label(knobs[knob]) for knobs in having), strict=True)}) == len({*settings})


def fill_groups(records: Sequence[Record], axes: Sequence[str]) -> None:
    """Give a run without recorded group that of a run with the same axes, else the text of its axes."""
    known: dict[tuple[str, ...], str] = {}
    settings = [tuple(label(record["knobs"].get(axis)) for axis in axes) for record in records]
    for record, setting in zip(records, settings, strict=True):
        if record["group"] is not None:
            known.setdefault(setting, record["group"])
    for record, setting in zip(records, settings, strict=True):
        if record["group"] is None:
            record["group"] = known.get(setting, " ".join(map("=".join, zip(axes, setting, strict=True))))
