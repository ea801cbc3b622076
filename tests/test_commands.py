"""Every command of every document works: as the shells read it, and as the verbs do up to the start of training."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from matplotlib.figure import Figure
from PIL import Image

from cifarlab.data.cifar import CIFAR10, CIFAR100
from cifarlab.data.cinic import CINIC10
from cifarlab.data.images import ImageSet
from cifarlab.job.directory import write_job
from cifarlab.job.job import Job
from cifarlab.job.preflight import Checked
from cifarlab.models.weights import without_weights
from cifarlab.result import digest
from cifarlab.summary import write
from cifarlab.sweeps.grid import Grid
from cifarlab.sweeps.launchers import slurm_queue
from cifarlab.sweeps.sweeper import ResumingSweeper
from cifarlab.verbs import drawing, evaluate, train

RunPy = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "benchmarks").glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
]
EXPERIMENTS = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`((?:PYTHONPATH=\. )?(?:python|pip|make) [^`\n]+|experiment=[^`\n]+)`(?!`)")
WRITTEN = re.compile(r"```(?:python|yaml)\n# (my_\w+/\S+)\n(.*?)```", re.DOTALL)
GLOBBING = "[]*?{}()<>|&$"  # what zsh (and, of braces, bash) takes apart where it is not quoted


class Command(NamedTuple):
    """One line of a document.

    Attributes:
        text: as it is written, continuation lines joined.
        place: the document.
    """

    text: str
    place: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def commands_of_markdown(path: Path) -> Iterator[str]:
    """Lines of bash blocks, and code in the text that begins as a command does."""
    text = path.read_text(encoding="utf-8")
    for block in BLOCK.findall(text):
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        yield from (line for line in lines if line and not line.startswith("#"))
    for span in SPAN.findall(BLOCK.sub("", text)):
        is_name = re.fullmatch(r"python \w+\.py|pip install", span)
        if not is_name and "..." not in span and "=NAME" not in span and "|" not in span:
            yield f"python train.py {span}" if span.startswith("experiment=") else span


def commands_of_header(path: Path) -> Iterator[str]:
    """``python train.py`` and the overrides behind it, over the ends of lines."""
    lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    words = " ".join(lines).split()
    for place in (place for place, word in enumerate(words) if word == "train.py" and words[place - 1] == "python"):
        overrides: list[str] = []
        for word in words[place + 1 :]:
            if word != "-m" and not re.match(r"[a-z][\w./]*=", word):
                break
            overrides.append(word.rstrip(";,.:"))
            if word != overrides[-1]:
                break
        yield " ".join(["python train.py", *overrides])


def all_commands() -> list[Command]:
    """Each once."""
    found = [(path, commands_of_markdown(path)) for path in DOCUMENTS]
    found += [(path, commands_of_header(path)) for path in EXPERIMENTS]
    named = {text: Command(text, str(path.relative_to(ROOT))) for path, texts in reversed(found) for text in texts}
    return sorted(named.values(), key=lambda command: (command.place, command.text))


COMMANDS = all_commands()
OF = {
    verb: [command for command in COMMANDS if command.words[:2] == ["python", f"{verb}.py"]]
    for verb in ("train", "evaluate", "visualize", "summarize")
}

# An experiment alone is trained by another test.
TRAIN = [command for command in OF["train"] if not re.fullmatch(r"python train\.py (-m )?experiment=\w+", command.text)]


def unquoted(text: str) -> str:
    """What of a line stands outside of quotation marks, escapes and comments."""
    return re.sub(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(?<!\S)#.*$""", "", text)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 100
    assert {verb: len(commands) >= 5 for verb, commands in OF.items()} == dict.fromkeys(OF, True)
    assert {command.place for command in COMMANDS} >= {"README.md", "CONTRIBUTING.md", "docs/recipes.md"}
    assert sum(command.place.startswith("conf/experiment/") for command in COMMANDS) > 5


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_can_read_them(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    lines = "\n".join(command.text for command in COMMANDS)
    done = subprocess.run([shell, "-n"], input=lines, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_them_is_taken_apart_by_a_shell() -> None:
    """zsh refuses a word with brackets, `?` or `*` that is no file's name; braces are expanded by bash too."""
    ours = [command for command in COMMANDS if command.words[0] in ("python", "pip", "make", "PYTHONPATH=.")]
    assert [command for command in ours if set(unquoted(command.text)) & set(GLOBBING)] == []


def test_comments_do_no_harm_in_an_interactive_zsh() -> None:
    """It knows none unless told so: behind a command they are arguments, before it a command of their own."""
    lines = [line for path in DOCUMENTS for block in BLOCK.findall(path.read_text()) for line in block.splitlines()]
    comments = [line for line in lines if line.startswith("#")]
    assert len(comments) > 10
    assert [line for line in lines if line not in comments and " #" in line] == []
    assert [line for line in comments if set(line) & set("'\"`;&|<>$()!")] == []


def test_what_is_no_verb_is_there() -> None:
    """Scripts, modules, targets of make and extras of pip."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for command in COMMANDS:
        words = [word for word in command.words if word != "PYTHONPATH=."]
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, command
        elif words[0] == "pip":
            assert set(re.findall(r"\[(\w+)\]", command.text)) <= extras, command
        elif words[:2] == ["python", "-m"]:
            script = ROOT.joinpath(*words[2].split(".")).with_suffix(".py")
            has_its_flags(script, words[3:]) if words[2].startswith("benchmarks.") else None
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), command
            has_its_flags(ROOT / words[1], words[2:] if "/" in words[1] else [])


def has_its_flags(script: Path, words: list[str]) -> None:
    text = script.read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == [], script


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_job: Callable[..., Any]) -> Path:
    """A folder in which the commands can be typed: a run, two sweeps, pictures, weights, packages of one's own."""
    bench = tmp_path_factory.mktemp("bench")
    run = bench / "outputs" / "RUN"
    job = tiny_job("model=tiny_vgg", "++figures=[]")
    write_job(job, run)
    assert job.execute(run, aloud=False).status == "finished"
    for name in ("NAME", "OTHER", "a", "b"):
        make_sweep(bench / "multirun" / name, run)
    for number in range(24):
        picture = bench / "PATH" / ("cat" if number % 2 else "dog") / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (number, 10 * number, 255 - number)).save(picture)
    shutil.copytree(bench / "PATH", bench / "flowers")
    images, labels = np.zeros((40, 3, 32, 32), dtype=np.uint8), np.arange(40) % 2
    names = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(bench / "PATH" / "shapes.npz", **names)
    for name in slurm_queue.COMMANDS:
        (bench / "bin").mkdir(exist_ok=True)
        (bench / "bin" / name).write_text("#!/bin/sh\n")
        (bench / "bin" / name).chmod(0o755)
    for name, content in WRITTEN.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        (bench / name).parent.mkdir(parents=True, exist_ok=True)
        (bench / name).write_text(content, encoding="utf-8")
    return bench


def make_sweep(folder: Path, run: Path) -> None:
    """Finished runs over the knobs that the documents compare, with the evaluations of two seeds."""
    result = json.loads((run / "result.json").read_text())
    axes = {"lr": (0.05, 0.1), "width": (4, 8), "epochs": (1, 2), "blocks": (1, 2), "kernel_size": (2, 3)}
    for number, values in enumerate(itertools.product(*axes.values(), (0, 1))):
        knobs, seed = dict(zip(axes, values, strict=False)), values[-1]
        cell = folder / f"cell-{number}"
        cell.mkdir(parents=True)
        named = {"key": f"{folder.name}{number}", "group": f"{number // 2}", "seed": seed}
        knobs = {**result["knobs"], **knobs}
        (cell / "result.json").write_text(json.dumps({**result, **named, "knobs": knobs}))
        (cell / "evaluation.json").write_text(json.dumps({"key": named["key"], "calibration": {"val/ece": 0.1}}))
        shutil.copy(run / "history.csv", cell)
        shutil.copytree(run / ".hydra", cell / ".hydra")


@pytest.fixture(scope="module")
def costs() -> Callable[[Checked, Job], Any]:
    """`Checked.cost`, which builds nothing twice for all commands together."""
    check, known = Checked.cost, {}

    def cost(checked: Checked, job: Job) -> Any:
        settings = job.parts["settings"].plain() | dict.fromkeys(("seed", "continue_from", "parent", "figures"))
        name = digest([settings, *(job.parts[group].plain() for group in sorted(job.parts) if group != "settings")])
        if name not in known:
            known[name] = check(checked, job)
        return known[name]

    return cost


@pytest.fixture
def typed(
    run_py: RunPy, bench: Path, costs: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Command], tuple[Any, list[str]]]:
    """Types a command in that folder; how it ended, and what it would have begun to do.

    The data sets are there without their pictures, the machine can do anything, and where a verb would train, test,
    draw or write, it stops.
    """
    monkeypatch.chdir(bench)
    monkeypatch.syspath_prepend(bench)
    monkeypatch.setenv("HOME", str(bench))
    for kind, classes in ((CIFAR10, 10), (CIFAR100, 100), (CINIC10, 10)):
        monkeypatch.setattr(kind, "prepare", lambda self, root: None)
        monkeypatch.setattr(kind, "load", lambda self, root, classes=classes: hollow(self, classes))
    monkeypatch.setenv("PATH", f"{bench / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(Checked, "_check_machine", lambda self, job: None)
    monkeypatch.setattr(Checked, "_may_use_device_of", lambda self, job: False)
    monkeypatch.setattr(Checked, "cost", costs)
    monkeypatch.setattr(Hydra, "get_mode", mode_of)
    monkeypatch.setattr(Grid, "overrides", every_value_once)
    begun: list[str] = []

    def stop(what: str, value: Any = None) -> Callable[..., Any]:
        def begin(*given: Any, **named: Any) -> Any:
            begun.append(what)
            return value

        return begin

    monkeypatch.setattr(train, "begin", stop("run"))
    monkeypatch.setattr(train, "finish", stop("end"))
    monkeypatch.setattr(ResumingSweeper, "_run_all", stop("sweep", set()))
    monkeypatch.setattr(evaluate, "_evaluate", stop("evaluation", True))
    monkeypatch.setattr(drawing, "DRAWN", dict.fromkeys(drawing.DRAWN, stop("figure", Figure())))
    monkeypatch.setattr(write, "draw", stop("chart"))
    monkeypatch.setattr(write, "rendered", lambda *given: b"")
    monkeypatch.setattr(write, "page", lambda *given: "")

    def call(command: Command) -> tuple[Any, list[str]]:
        words = [re.sub(r"\b(RUN_DIR|RUN)\b(?<!outputs/RUN)", "outputs/RUN", word) for word in command.words[1:]]
        words = [word.replace("SWEEP_DIR", "multirun/NAME") for word in words]
        with without_weights():
            return run_py(*words), begun

    return call


def every_value_once(
    grid: Grid, whole: Callable[[Grid], list[tuple[str, ...]]] = Grid.overrides
) -> list[tuple[str, ...]]:
    """Of the cells of a grid so many that each value of an axis is in one of them; of seeds one."""
    cells = whole(grid)
    values = [{override for override in cell if "seed" not in override} for cell in cells]
    chosen: list[int] = []
    left = set().union(*values)
    while left:
        chosen.append(max(range(len(cells)), key=lambda place: len(values[place] & left)))
        left -= values[chosen[-1]]
    return [cells[place] for place in sorted(chosen)]


def mode_of(hydra: Hydra, config_name: str, overrides: list[str]) -> RunMode | None:
    """What Hydra would find in the experiment's file, without composing all for it."""
    named = [override.removeprefix("experiment=") for override in overrides if override.startswith("experiment=")]
    text = "".join((ROOT / "conf" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8") for name in named)
    return RunMode.MULTIRUN if "\n  mode: MULTIRUN\n" in text else RunMode.RUN


def hollow(source: Any, classes: int) -> dict[str, ImageSet]:
    """Labels as many as there are, and one black picture that stands for all."""
    sizes = {"train": 90_000, "val": 90_000, "test": 90_000} if source.has_val else {"train": 50_000, "test": 10_000}
    names = tuple(map(str, range(classes)))
    return {
        split: ImageSet(
            torch.zeros(1, 3, 32, 32, dtype=torch.uint8).expand(size, 3, 32, 32), torch.arange(size) % classes, names
        )
        for split, size in sizes.items()
    }


def test_experiments_are_there() -> None:
    """tests/test_experiments.py composes each, checks its cells and trains it."""
    named = {experiment for command in OF["train"] for experiment in re.findall(r"experiment=(\w+)", command.text)}
    assert named <= {path.stem for path in EXPERIMENTS}


@pytest.mark.parametrize("command", TRAIN, ids=lambda command: command.text)
def test_train(typed: Callable[..., Any], command: Command) -> None:
    if "hydra/launcher=ray" in command.words and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    ended, begun = typed(command)
    assert ended.code == 0, ended.err
    assert begun[:1] in (
        [["run"], ["end"], ["sweep"]] if "--help" not in command.text and "plan=true" not in command.text else [[]]
    )


@pytest.mark.parametrize("command", OF["evaluate"], ids=lambda command: command.text)
def test_evaluate(typed: Callable[..., Any], command: Command) -> None:
    ended, begun = typed(command)
    assert ended.code == 0, ended.err
    assert begun == ["evaluation"]


@pytest.mark.parametrize("command", OF["visualize"], ids=lambda command: command.text)
def test_visualize(typed: Callable[..., Any], command: Command) -> None:
    ended, begun = typed(command)
    assert ended.code == 0, ended.err
    assert begun == ["figure"]
    assert Path(ended.out.splitlines()[-1]).is_file()


@pytest.mark.parametrize("command", OF["summarize"], ids=lambda command: command.text)
def test_summarize(typed: Callable[..., Any], command: Command) -> None:
    ended, _ = typed(command)
    assert ended.code == 0, ended.err


def test_the_quick_start_of_the_readme(run_py: RunPy, tmp_path: Path) -> None:
    """From the first lines of the table on, each on what the ones before it have left, in one epoch of few pictures."""
    readme = [command.words[1:] for command in COMMANDS if command.place == "README.md"]
    for words in (["train.py", "data=digits", "epochs=10"], ["evaluate.py", "run=RUN_DIR"]):
        assert words in readme
    short = ("width=4", "limit=40", "epochs=1", "trainer.accelerator=cpu", "trainer.progress_bar=false", "figures=[]")
    trained = run_py("train.py", "data=digits", "epochs=10", *short)
    assert trained.code == 0, trained.err
    (run,) = (tmp_path / "outputs").iterdir()
    for words in readme:
        if any("RUN_DIR" in word for word in words):
            ended = run_py(*(word.replace("RUN_DIR", str(run)) for word in words))
            assert ended.code == 0, (words, ended.err)
    assert {path.name for path in run.iterdir()} >= {"evaluation.json", "figures", "result.json"}
