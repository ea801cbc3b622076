"""Which runs a path stands for, and what tells their settings apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import is_run_directory, stored_result
from cifarlab.reading import leads_out
from cifarlab.result import Result, Status


@dataclass(frozen=True)
class Finished:
    """A run that ended well."""

    directory: Path
    result: Result


def as_typed(text: str) -> list[str]:
    """``[A,B]`` -> both; anything else, and a folder of that very name, is one path."""
    if text.startswith("[") and text.endswith("]") and not Path(text).exists():
        return [part.strip().strip("'\"") for part in text[1:-1].split(",") if part.strip()]
    return [text]


def finished_runs(paths: Sequence[Path]) -> tuple[list[Finished], list[str]]:
    """The finished runs among these directories and, where one holds runs, among its own; and a line for each other.

    Raises:
        ConfigError: a path is no directory, or neither a run's nor one with runs; or no run of them has finished.
    """
    found, left_out = [], []
    for path in dict.fromkeys(paths):
        for directory in runs_in(path):
            try:
                result = stored_result(directory)
            except ValueError as error:
                left_out.append(f"{directory}: left out: {error}")
                continue
            if result is None or result.status != Status.FINISHED:
                how = "has not ended" if result is None else f"ended as {result.status}"
                left_out.append(f"{directory}: left out: the run {how}")
            else:
                found.append(Finished(directory, result))
    if not found:
        raise ConfigError([*left_out, f"run={','.join(map(str, paths))}: no finished run is there"])
    return found, left_out


def runs_in(path: Path) -> list[Path]:
    """The directory itself where it is a run's, else those in it that are.

    Raises:
        ConfigError: there is none.
    """
    if is_run_directory(path):
        return [path]
    if not path.is_dir():
        raise ConfigError([f"run={path}: there is no such directory; give a run's or a sweep's (multirun/NAME)"])
    runs = sorted(entry for entry in path.iterdir() if is_run_directory(entry) and not leads_out(entry, path))
    if not runs:
        raise ConfigError([f"{path}: not a run directory (it has no .hydra/config.yaml), nor one that holds runs"])
    return runs


def settings_in_words(runs: Sequence[Finished]) -> list[str]:
    """A text a run, the same for those of one group: the knobs in which the groups differ, with their values."""
    first = {run.result.group: run.result.knobs for run in runs}
    names = dict.fromkeys(name for knobs in first.values() for name in knobs)
    differing = [name for name in names if len({str(knobs.get(name, "")) for knobs in first.values()}) > 1]
    words = {
        group: " ".join(f"{name}={knobs[name]}" for name in differing if name in knobs)
        or str(knobs.get("model", "all"))
        for group, knobs in first.items()
    }
    if len(set(words.values())) < len(words):  # they differ in what is no knob
        words = {group: f"{text} ({group[:6]})" for group, text in words.items()}
    return [words[run.result.group] for run in runs]
