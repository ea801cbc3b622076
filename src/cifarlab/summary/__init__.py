"""Reading many runs back: tables, statistics, figures and one page. Imports no torch."""

from cifarlab.summary.load import load
from cifarlab.summary.write import summarize

__all__ = ["load", "summarize"]
