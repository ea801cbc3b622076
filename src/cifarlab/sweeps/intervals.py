"""Numbers that a search may choose among: ``interval(0,0.5)``, ``tag(log,interval(0.001,1))``, ``range(1,6)``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.names import bare

SHORT = 10  # values that a figure has room for, each in a place of its own
FINENESS = 1000  # steps of an interval that are told apart; names and configs stay short


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, both included.

    Attributes:
        low, high: the ends; integers where `whole`.
        log: small numbers are as likely as large ones, by their order of magnitude.
        whole: integers only, every `step`-th from `low`.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: int = 1

    @classmethod
    def read(cls, override: Override) -> Interval | None:
        """What an override spans; None where its values are no numbers in between two others.

        Raises:
            ConfigError: the ends are the wrong way round, a logarithm does not exist, or the tag is unknown.
        """
        given = override.value()
        if isinstance(given, IntervalSweep) and given.start is not None and given.end is not None:
            whole = isinstance(given.start, int) and isinstance(given.end, int)
            interval = cls(given.start, given.end, "log" in given.tags, whole)
        elif isinstance(given, RangeSweep) and _is_whole(given):
            values = cast(range, given.range())  # not listed: it may be endless
            log, step = "log" in given.tags, int(given.step)
            if len(values) < 2 or step < 1 or (log and step > 1):
                return None
            interval = cls(int(values[0]), int(values[-1]), log, True, step)
        else:
            return None
        fault = interval._fault(given.tags)
        if fault:
            raise ConfigError([f"{bare(override.input_line or '')}: {fault}"])
        return interval

    @property
    def is_short(self) -> bool:
        """Whether its values can be told one by one."""
        return self.whole and (self.high - self.low) // self.step < SHORT

    def text(self, value: float) -> str:
        """A number of the interval as one would type it, with no more digits than tell its `FINENESS` steps apart."""
        if self.whole:
            return str(int(value))
        span = value * math.log(self.high / self.low) if self.log else self.high - self.low
        decimals = -math.floor(math.log10(span / FINENESS))
        return repr(float(min(max(round(value, decimals), self.low), self.high)))

    def _fault(self, tags: set[str]) -> str | None:
        if tags - {"log"}:
            return f"the tag {', '.join(sorted(tags - {'log'}))} is not known; allowed: log"
        if not -math.inf < self.low < self.high < math.inf:
            return "the first number must be below the second"
        if self.log and self.low <= 0:
            return "a logarithmic interval begins above 0"
        return None


def _is_whole(given: RangeSweep) -> bool:
    return all(isinstance(number, int) for number in (given.start, given.stop, given.step))
