"""What is asked of the reports' comparisons: `questions.yaml` as objects."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

FILE = Path(__file__).with_name("questions.yaml")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A comparison that the page answers in a paragraph, a table and a figure.

    Attributes:
        name: of its figure.
        asks: the question, for readers.
        of: the name of a command (`Entry.name`), whose `knob` is asked about; or several commands, by what readers
            are to call them, which are compared as wholes.
        knob: of the one command.
        against: the value of the knob, or the name, that the others are held against.
        note: what must be known beside the numbers.
    """

    name: str
    asks: str
    of: str | Mapping[str, str]
    against: str
    knob: str | None = None
    note: str | None = None

    @property
    def commands(self) -> Sequence[str]:
        """The names of the commands."""
        return [self.of] if isinstance(self.of, str) else list(self.of.values())


@functools.cache
def read_questions(file: Path = FILE) -> tuple[Question, ...]:
    """All questions, in the order of the page.

    Raises:
        pydantic.ValidationError: the file is not as it must be.
    """
    return TypeAdapter(tuple[Question, ...]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
