"""`python summarize.py SWEEP_DIR`: read a sweep back. Needs no torch and no Hydra."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from cifarlab.figures import OF_A_SWEEP
from cifarlab.figures.formats import FORMATS, LEAST, MOST, Format
from cifarlab.reading import visible
from cifarlab.verbs.paths import expanded

HELP = f"""\
usage: python summarize.py SWEEP_DIR [SWEEP_DIR ...] [compare=KNOB] [metric=val/NAME] [figures=[NAME,...]]
       [format=svg|pdf] [dpi=N] [table=latex] [watch=true]

Rebuilds SWEEP_DIR/summary/ from whatever runs exist: runs.csv (a row a run), cells.csv (a row a setting: mean and
standard deviation over its seeds, from three on with a 95 % interval), summary.md, index.html and the figures.
SWEEP_DIR is a sweep's folder (multirun/NAME) or any folder of runs (outputs). Several are summed up together, in a
folder A+B beside them.

  compare=KNOB        compare the values of a knob in pairs, over all runs that are alike in everything else: a table
                      and a figure, compare_KNOB
  metric=val/NAME     what compare= compares, and a table of the settings by it: val/loss, or val/ece and others that
                      evaluate.py has measured
  figures=[NAME,...]  further figures: {", ".join(OF_A_SWEEP)} (X, Y, Z: swept knobs)
  format=svg|pdf      each figure as such a file too, for print
  dpi=N               dots an inch of the figures, {LEAST} to {MOST}
  table=latex         also table.tex, the settings for a paper (booktabs)
  watch=true          only look: the runs of a sweep that goes on, with their epochs, until all have ended

Prints the best settings and, on the last line, the path of the page. Exit code 1: no run found, or nothing could be
written there; 2: a wrong argument."""


ALLOWED = {"table": ("latex",), "watch": ("true", "false"), "format": FORMATS}


class UsageError(ValueError):
    """The command line cannot be understood."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line of summarize.py."""

    sweep_dirs: tuple[str, ...]
    compare: str | None = None
    figures: list[str] = field(default_factory=list)
    table: str | None = None
    metric: str | None = None
    format: Format = "png"
    dpi: int | None = None
    watch: bool = False


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the command line; a path may hold `=`: only those of HELP at the start are options.

    Raises:
        UsageError: no directory, an option that does not exist, or a value that it does not take.
    """
    paths: list[str] = []
    compare: str | None = None
    figures: list[str] = []
    others: dict[str, str] = {}
    for argument in argv:
        key, given, value = argument.partition("=")
        if given and key == "compare":
            compare = value
        elif given and key == "figures":
            figures = [name.strip(" '\"") for name in value.strip("[] ").split(",") if name.strip()]
        elif given and key == "metric":
            others[key] = value
        elif given and key in ALLOWED:
            if value not in ALLOWED[key]:
                raise UsageError(f"{key}={value}: allowed: {', '.join(ALLOWED[key])}")
            others[key] = value
        elif given and key == "dpi":
            if not value.isdecimal() or not LEAST <= int(value) <= MOST:
                raise UsageError(f"dpi={value}: allowed: an integer from {LEAST} to {MOST}")
            others[key] = value
        elif argument.startswith("--"):
            raise UsageError(f"unknown option {argument}")
        else:
            paths.append(argument)
    if not paths:
        raise UsageError("expected a SWEEP_DIR, got none")
    watch = others.get("watch") == "true"
    if watch and len(paths) > 1:
        raise UsageError(f"watch=true looks at one SWEEP_DIR, got {len(paths)}: {' '.join(paths)}")
    if compare == "":
        raise UsageError("compare= needs the name of a knob")
    directories = tuple(str(expanded(path)) for path in paths)
    return Arguments(
        sweep_dirs=directories,
        compare=compare,
        figures=figures,
        table=others.get("table"),
        metric=others.get("metric"),
        format=cast(Format, others.get("format", "png")),
        dpi=int(others["dpi"]) if "dpi" in others else None,
        watch=watch,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        parsed = parse_arguments(arguments)
    except UsageError as error:
        print(f"{error}\n\n{HELP}", file=sys.stderr)
        return 2
    # Imported late: --help and a mistyped command need not wait for pandas and matplotlib.
    from cifarlab.summary.load import NothingFound
    from cifarlab.summary.terminal import report
    from cifarlab.summary.write import write_summary

    try:
        if parsed.watch:
            from cifarlab.summary.watch import watch

            watch(parsed.sweep_dirs[0])
            return 0
        first, *others = parsed.sweep_dirs
        path, findings = write_summary(
            first,
            parsed.compare,
            parsed.figures,
            others,
            parsed.table,
            parsed.metric,
            form=parsed.format,
            dpi=parsed.dpi,
        )
    except (ValueError, OSError) as error:
        print(f"summarize: {visible(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) and not isinstance(error, NothingFound) else 1
    report(findings, parsed.metric)
    if path is None:
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
