"""Values of knobs: from the text of an override, to a label, in an order that a reader expects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

NULL = "null"
WORDS = {"true": True, "false": False, "null": NULL}


def parse(text: str) -> Any:
    """The scalar that an override's text means: `3` is an int, `1e-3` a float, `true` a bool, the rest are strings."""
    text = text.strip().strip("'\"")
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def plain(value: Any) -> Any:
    """A knob's value as a table holds it: `None` becomes the word `null` (an empty cell means that the run has no such
    knob), a list or mapping becomes its JSON text."""
    if value is None:
        return NULL
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else value


def absent(value: Any) -> bool:
    """True where a table holds nothing: `None`, NaN or pandas' NA."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def label(value: Any) -> str:
    """Short text of a value: `2.0` reads `2`, a missing one is a dash."""
    if absent(value):
        return "\N{EN DASH}"
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, float, np.number)):
        return format(float(value), ".10g")
    return str(value)


def numeric(value: Any) -> bool:
    """True for a number; a bool and NaN are none."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and not absent(value)


def ordered(values: Iterable[Any], written: Sequence[Any] = ()) -> list[Any]:
    """The distinct values, absent ones left out: numbers by size, then words as `written`, then as they were met."""
    distinct = list({label(value): value for value in values if not absent(value)}.values())
    rank = {label(value): position for position, value in enumerate(written)}
    numbers = sorted((value for value in distinct if numeric(value)), key=float)
    others = [value for value in distinct if not numeric(value)]
    return numbers + sorted(others, key=lambda value: rank.get(label(value), len(rank)))
