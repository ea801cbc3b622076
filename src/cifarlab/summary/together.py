"""Knobs that move together, as `zip` says, are one axis: its values have names of their own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cifarlab.result import is_replicate
from cifarlab.summary.knobs import Record, knob_name
from cifarlab.summary.values import absent, label, numeric


def join(records: Sequence[Record], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Give every run a knob for each group of keys that move together, its value a name.

    A group whose values have come to be crossed, in a later command, is none any more.

    Args:
        records: of runs; what they have as knobs is added to.
        groups: name of the axis -> keys, as the ledger has them.

    Returns:
        name of the axis -> the knobs that it stands for.
    """
    joined: dict[str, tuple[str, ...]] = {}
    for given, keys in groups.items():
        knobs = tuple(knob_name(key, records) for key in keys if not is_replicate(key))
        rows = [tuple(record["knobs"].get(knob) for knob in knobs) for record in records]
        if len(knobs) < 2 or _are_crossed(rows):
            continue
        name = given if not any(given in record["knobs"] for record in records) else "+".join(knobs)
        words = names(knobs, rows)
        for record, row in zip(records, rows, strict=True):
            record["knobs"][name] = words[_labels(row)]
        joined[name] = knobs
    return joined


def names(knobs: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[tuple[str, ...], str]:
    """A short name for each distinct row: `tiny_vgg`, `tiny_vgg blocks=3`, `0.1, 128`.

    Words name themselves by the first knob; of the others, as many as tell the rows apart, those are said that differ
    from the usual value. Numbers are all said.
    """
    distinct = {_labels(row): row for row in rows}
    if all(numeric(value) or absent(value) for row in distinct.values() for value in row):
        return {texts: ", ".join(texts) for texts in distinct}
    enough = next(
        (count for count in range(1, len(knobs)) if len({texts[:count] for texts in distinct}) == len(distinct)),
        len(knobs),
    )
    columns = list(zip(*distinct, strict=True))[:enough]
    usual = [Counter(column).most_common(1)[0] for column in columns]
    made = {}
    for texts in distinct:
        said = [
            f"{knob}={text}"
            for knob, text, (value, count) in zip(knobs[1:enough], texts[1:], usual[1:], strict=False)
            if text != value or count == 1
        ]
        made[texts] = " ".join([texts[0], *said])
    if len(set(made.values())) == len(distinct):
        return made
    return {texts: " ".join(map("=".join, zip(knobs, texts, strict=True))) for texts in distinct}


def _labels(row: Sequence[Any]) -> tuple[str, ...]:
    return tuple(map(label, row))


def _are_crossed(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether every value of each knob was run with every value of the others."""
    distinct = {_labels(row) for row in rows}
    columns = [dict.fromkeys(column) for column in zip(*distinct, strict=True)]
    several = [column for column in columns if len(column) > 1]
    return len(several) > 1 and distinct == set(itertools.product(*columns))
