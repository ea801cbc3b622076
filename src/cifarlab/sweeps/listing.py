"""The values of an axis, as one would type each: lists and ranges, right where Hydra's own are not."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.names import bare

# Hydra 1.3 turns sort(range(1,6,2),reverse=true) into 4, 2, 0 (hydra#3228): the range is listed first, then sorted.
MOST = 100_000  # values of an axis, and cells of a grid: more are a slip of the keyboard, or a search
SORTED_RANGE = re.compile(r"sort\((range\([^()]*\))(?:,reverse=(true|false))?\)", re.IGNORECASE)


def listed(override: Override) -> tuple[str, ...]:
    """The values of a discrete sweep in their order.

    Raises:
        ConfigError: there is none, there are more than `MOST`, or a range is sorted in a way that cannot be read.
    """
    text = "".join((override.input_line or "").partition("=")[2].split())
    given = override.value()
    if isinstance(given, RangeSweep):
        _refuse_endless(override, given)
    if isinstance(given, RangeSweep) and "sort(" in text.lower():
        return _sorted_range(override, text)
    if isinstance(given, RangeSweep) and not given.shuffle:
        values = _range(given)
    else:
        values = tuple(as_typed(value) for value in override.sweep_string_iterator())
    if not values:
        raise ConfigError([f"{bare(override.input_line or '')}: an axis without a value; allowed: at least one"])
    return values


def as_typed(value: str) -> str:
    """Hydra writes the ``true`` it has read as Python does."""
    return {"True": "true", "False": "false"}.get(value, value)


def _refuse_endless(override: Override, given: RangeSweep) -> None:
    """Count before anything is listed."""
    numbers = (given.start, given.stop, given.step)
    if not all(number is not None and math.isfinite(number) for number in numbers) or not given.step:
        raise ConfigError([f"{bare(override.input_line or '')}: a range needs a start, a stop and a step other than 0"])
    start, stop, step = (Decimal(str(number)) for number in numbers)
    if (count := math.ceil((stop - start) / step)) > MOST:
        raise ConfigError([f"{bare(override.input_line or '')}: {count:,} values; allowed: at most {MOST:,}"])


def _range(given: RangeSweep) -> tuple[str, ...]:
    """From start to below stop, in decimals as typed: 0.1, 0.2, 0.3 and no 0.30000000000000004."""
    start, stop, step = (Decimal(str(number)) for number in (given.start, given.stop, given.step))
    count = max(0, int((stop - start) / step))
    whole = all(isinstance(number, int) for number in (given.start, given.stop, given.step))
    places = [start + index * step for index in range(count + 1)]
    inside = [place for place in places if (place < stop if step > 0 else place > stop)]
    return tuple(str(int(place)) if whole else repr(float(place)) for place in inside)


def _sorted_range(override: Override, text: str) -> tuple[str, ...]:
    match = SORTED_RANGE.fullmatch(text)
    if match is None:
        raise ConfigError([f"{bare(override.input_line or '')}: a sorted range cannot be read; list its values"])
    key = override.get_key_element()
    values = listed(OverridesParser.create().parse_override(f"{key}={match[1]}"))
    return tuple(sorted(values, key=float, reverse=(match[2] or "").lower() == "true"))
