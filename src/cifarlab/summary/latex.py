"""The settings as a table for a paper."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cifarlab.summary.findings import Findings
from cifarlab.summary.tables import score
from cifarlab.summary.values import label

SPECIAL = {each: f"\\{each}" for each in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\N{EN DASH}": "--",
}  # fmt: skip


def latex(findings: Findings) -> str:
    """A table of LaTeX's `booktabs` for each data set: axes, runs, accuracies as mean and standard deviation.

    Accuracies are fractions. The best by validation is bold where its mean is one of several runs: nothing is bold that
    rests on one seed.
    """
    return "\n".join(_table(part) for part in findings.parts or (findings,))


def _table(findings: Findings) -> str:
    axes, rows = findings.sweep.axes, findings.order
    heads = [*map(escaped, axes), "$n$", "validation accuracy", "test accuracy"]
    name = " ".join(findings.sweep.name.split())
    lines = [
        f"% {name}: mean \\pm standard deviation over n runs; needs \\usepackage{{booktabs}}",
        f"\\begin{{tabular}}{{{'l' * len(axes)}rrr}}",
        "\\toprule",
        f"{' & '.join(heads)} \\\\",
        "\\midrule",
    ]
    for place, (_, row) in enumerate(rows.iterrows()):
        bold = place == 0 and score(findings.sweep) == "val/acc" and row["n"] > 1
        cells = [escaped(label(row[axis])) for axis in axes]
        cells += [str(row["n"]), _number(row, "val/acc", bold), _number(row, "test/acc", False)]
        lines.append(f"{' & '.join(cells)} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _number(row: pd.Series, metric: str, bold: bool) -> str:
    mean, sd = row[f"{metric}_mean"], row[f"{metric}_sd"]
    if not np.isfinite(mean):
        return "--"
    text = f"{mean:.4f}" + (f" \\pm {sd:.4f}" if np.isfinite(sd) else "")
    return f"$\\mathbf{{{text}}}$" if bold else f"${text}$"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(SPECIAL.get(each, each) for each in text)
