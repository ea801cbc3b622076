"""`REPRODUCTION.md`: the reports' numbers beside ours, from what `results/` holds and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from cifarlab.reproduction.answers import Answer, answer, method, sentences
from cifarlab.reproduction.questions import read_questions
from cifarlab.reproduction.results import PICTURE, PICTURES, Kept, kept
from cifarlab.reproduction.rows import Entry, Row, by_name
from cifarlab.reproduction.verdict import RULE, Measured, between, departures, own_length, verdict
from cifarlab.summary.findings import find
from cifarlab.summary.findings import verdict as in_sentences
from cifarlab.summary.load import Sweep, read_sweep
from cifarlab.summary.markdown import inline, table
from cifarlab.summary.tables import cells_table

FILE = Path("REPRODUCTION.md")
HEAD = """\
# The five reports, reproduced

Written by `python reproduce.py` from the records in [results/](results); a test holds that it says what they say.
Accuracies are fractions of the test split, tested once, with weights chosen on validation: mean and 95 % interval over
seeds. `python reproduce.py budget=600` runs what is missing, most worth a second first, for so many seconds, and goes
on where it stopped; with `plan=true` it only lists it. What was measured before, and what the grids say:
[docs/results.md](docs/results.md).

{rule}

## Rows
"""
REPORT, STRONG = "report", "strong"
VERSIONS = ("torch", "lightning")
Runs = Mapping[str, Sequence[Kept]]


def page(rows: Sequence[Row], results: Path) -> str:
    """The text of the page.

    Args:
        rows: of the reports.
        results: the folder with the records.

    Raises:
        ValueError: a record there is damaged or of another command.
    """
    runs = {entry.name: kept(results, entry) for row in rows for entry in row.entries}
    entries = [entry for row in rows for entry in row.entries if runs[entry.name]]
    parts = [HEAD.format(rule=RULE), _table([line for row in rows for line in _lines(row, runs)]), ""]
    parts += ["## Commands and cost", "", _NO_RUNS if not entries else _table(_costs(entries, runs, results)), ""]
    parts += _answers(by_name(rows), results)
    parts += [text for entry in entries if entry.row.grid for text in _grid(entry, results)]
    parts += _pictures(rows, results)
    missing = [entry for row in rows for entry in row.entries if not runs[entry.name]]
    parts += ["## Not run yet", "", *(f"    {entry.command}" for entry in missing), ""] if missing else []
    parts += [f"- {row.id} {row.title}: {row.note}: `{row.command}`" for row in rows if row.note and row.command]
    return "\n".join(parts).rstrip() + "\n"


_NO_RUNS = "There is no run yet."


def _lines(row: Row, runs: Runs) -> list[dict[str, str]]:
    """A line of the table for each number of the report, or one for a row without."""
    numbers: Mapping[str, float | None] = {**row.report} if row.report else {"test/acc": None}
    if row.command is not None:
        return [_line(row, row.title, f"`{row.command}`", "", "")]
    if row.grid:
        there = sum(len(runs[entry.name]) for entry in row.entries)
        return [_line(row, row.title, f"{there} runs, below" if there else "not run yet", "", "")]
    lines = []
    for metric, number in numbers.items():
        ours = {STRONG: "", REPORT: ""}
        verdicts = []
        for entry in row.entries:
            found = runs[entry.name]
            if not found:
                continue
            measured, away, length = Measured.of(found, metric), departures(entry, found), own_length(entry)
            column = STRONG if entry.is_strong else REPORT
            text = ", ".join(dict.fromkeys([f"{measured}", *away, *([length] if length else [])]))
            ours[column] += f"; {text}" if ours[column] else text
            if number is not None and not away:
                against = verdict(measured, number, whole=length is None)
                verdicts.append(f"{entry.kind}: {against}" + (f" in {length}" if length else ""))
        title = row.title if len(numbers) == 1 else f"{row.title} ({metric})"
        texts = [ours[column] or ("not run yet" if _has(row, column) else "") for column in (REPORT, STRONG)]
        lines.append(_line(row, title, texts[0], texts[1], "; ".join(verdicts)))
    return lines


def _has(row: Row, column: str) -> bool:
    """Whether a command of the row stands in the column."""
    return any((entry.kind == STRONG) == (column == STRONG) for entry in row.entries)


def _line(row: Row, title: str, report: str, strong: str, against: str) -> dict[str, str]:
    return {
        "row": row.id,
        "what": title,
        "the report": row.said,
        "best published": row.published or "",
        "its protocol": report,
        "recipe=strong": strong,
        "against the report": against,
    }


def _costs(entries: Sequence[Entry], runs: Runs, folder: Path) -> list[dict[str, str]]:
    """What each command's runs took, and on what."""
    lines = []
    for entry in entries:
        results = [run.result for run in runs[entry.name]]
        found = [run.versions for run in runs[entry.name]]
        named = {", ".join(f"{name} {each.get(name, 'unknown')}" for name in VERSIONS) for each in found}
        picture = folder / entry.name / PICTURE
        lines.append(
            {
                "row": entry.row.id,
                "command": f"`{entry.command}`",
                "n": str(len(results)),
                "epochs": _span([result.epochs for result in results]),
                "seconds a run": f"{fmean(result.seconds['total'] for result in results):,.0f}",
                "hardware": "; ".join(sorted({inline(f"{result.device}, {result.precision}") for result in results})),
                "versions": "; ".join(sorted(named)),
                "curves": f"[of one]({folder.name}/{entry.name}/{PICTURE})" if picture.exists() else "",
            }
        )
    return lines


def _answers(entries: Mapping[str, Entry], results: Path) -> list[str]:
    """The reports' comparisons, as far as the rows have their commands, answered by what the runs say."""
    parts = ["## What the comparisons say", "", ANSWERS, ""]
    for question in read_questions():
        if not set(question.commands) <= set(entries):
            continue
        commands = "; ".join(f"`{entries[name].command}`" for name in question.commands)
        found = answer(question, entries, results)
        parts += [f"### {question.asks}", ""]
        parts += _answer(found, commands, results) if found else [f"{_UNANSWERED} {commands}", ""]
    return parts


ANSWERS = """\
Differences are of validation accuracy, between runs that share their seed; the test split stands beside them and
decides nothing. The runs are short: what is true of them need not be of long ones."""
_UNANSWERED = "Three seeds of each are not there yet:"


def _answer(found: Answer, commands: str, results: Path) -> list[str]:
    question = found.question
    note = [question.note] if question.note else []
    return [
        " ".join([inline(" ".join(sentences(found))), *note]),
        "",
        _table(_levels(found)),
        "",
        f"Differences {method(found)}. {commands}",
        "",
        f"![{question.asks}]({results.name}/{question.name}.png)",
        "",
    ]


def _levels(found: Answer) -> list[dict[str, str]]:
    gains = found.gains.set_index("b")
    lines = []
    for _, level in found.levels.iterrows():
        line = {
            found.question.knob or "net": inline(str(level["name"])),
            "n": str(level["n"]),
            found.metric: between(level["mean"], level["low"], level["high"]),
            "test/acc": between(level["test"], level["test_low"], level["test_high"]),
            "difference": "",
            "p (Holm)": "",
        }
        if level["name"] in gains.index:
            gain = gains.loc[level["name"]]
            line["difference"] = between(gain["effect"], gain["low"], gain["high"], "+.4f")
            line["p (Holm)"] = f"{gain['p_holm']:.2g}"
        lines.append(line)
    return lines


def _grid(entry: Entry, results: Path) -> list[str]:
    """The settings of a grid, and what is found in them."""
    sweep = read_sweep(results / entry.name)
    cells = cells_table(sweep)
    findings = find(sweep, cells)
    columns = [*sweep.axes, "n", "val/acc_mean", "val/acc_sd", "test/acc_mean", "test/acc_low", "test/acc_high"]
    columns += ["gates_mean", "closed_gates_mean"]
    shown = findings.order[[name for name in columns if name in findings.order]]
    pictures = sorted((results / entry.name).glob("*.png"))
    return [
        f"## {entry.row.id} {entry.row.title}",
        "",
        f"The report: {entry.row.said}. `{entry.command}`",
        "",
        *_incomplete(entry, sweep),
        table(shown),
        "",
        *(inline(line) + "  " for line in in_sentences(findings)),
        "",
        *(f"![{path.stem}]({results.name}/{entry.name}/{path.name})" for path in pictures),
        "",
    ]


def _pictures(rows: Sequence[Row], results: Path) -> list[str]:
    """What the rows have drawn that are pictures and not runs."""
    parts = []
    for row in rows:
        for each in row.pictures:
            parts += [f"{row.id}: {each.shows}. `{each.command}`", ""]
            parts += [f"![{each.shows}]({results.name}/{PICTURES}/{each.file})", ""]
    return ["## Pictures", "", *parts] if parts else []


def _incomplete(entry: Entry, sweep: Sweep) -> list[str]:
    """What of the grid is not there yet: neither its best nor its noise is the whole grid's then."""
    there = int(sweep.is_finished.sum())
    return [f"Not complete: {there} of {entry.whole} runs.", ""] if there < entry.whole else []


def _table(lines: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of text that may hold code."""
    names = list(lines[0])
    header = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
    return "\n".join([*header, *(f"| {' | '.join(line[name] for name in names)} |" for line in lines)])


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
