"""A search: which trials it tries, what it learns from them, and how it goes on after it was stopped."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cifarlab.job.preflight import Planned, Refused
from cifarlab.result import Identity, Result, Status
from cifarlab.sweeps.grid import Grid
from cifarlab.sweeps.ledger import Cell, Ledger, locked
from cifarlab.sweeps.searching.search import Search
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.searching.space import Space

optuna = pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
from cifarlab.sweeps.searching.study import Study  # noqa: E402

TrainPy = Callable[..., Any]
TINY = (
    "data=digits", "limit=60", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip
RESNET = (*TINY, "width=4", "blocks=1")
# Its validation loss is ln 10 without noise and grows with it, whatever it is trained on.
NOISY_NET = """
import torch
from torch import nn


class Noisy(nn.Module):
    def __init__(self, num_classes: int, *, noise: float = 0.0):
        super().__init__()
        self.noise = noise
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        logits = 0 * self.head(images.mean((2, 3)))
        return torch.cat([logits[:, :1] + self.noise, logits[:, 1:]], 1)
"""


def space_of(*arguments: str) -> Space:
    return Space.of(Grid.parse(arguments))


def study_in(directory: Path, space: Space, **settings: Any) -> Study:
    """As every start of a search opens it."""
    return Study(directory, "s", SearchSettings(**{"sampler": "tpe", **settings}), space, epochs=9)


def states(directory: Path) -> list[str]:
    """How each trial of the sweep's only study stands."""
    url = f"sqlite:///{directory / 'study.db'}"
    (name,) = optuna.get_all_study_names(url)
    return [trial.state.name for trial in optuna.load_study(study_name=name, storage=url).trials]


def planned(overrides: Sequence[str]) -> Planned:
    """A cell whose key is the text of its overrides, in letters that a key may have."""
    key = "__".join(override.replace("=", "_") for override in overrides if "search.trial" not in override)
    identity = Identity(key, "g", overrides=tuple(override.lstrip("+") for override in overrides))
    return Planned(tuple(overrides), SimpleNamespace(identity=identity), None)  # type: ignore[arg-type]


def text(cell: Cell) -> str:
    """The overrides that a cell's key stands for: ``x=0.5 seed=1``."""
    return cell.key.replace("__", " ").replace("_", "=")


class Stub:
    """Cells that end as they are told to, in place of training.

    Attributes:
        fates: text of a cell's overrides -> how it ends; ``finished`` unless named.
        ran: what was handed out, in order.
    """

    def __init__(self, directory: Path, space: Space, **settings: Any) -> None:
        self.directory = directory
        self.space = space
        self.settings = SearchSettings(**{"sampler": "random", "trials": 4, **settings})
        self.fates: dict[str, Status] = {}
        self.refused: set[str] = set()
        self.ran: list[str] = []
        self.said: list[str] = []

    def search(self) -> Search:
        study = Study(self.directory, "s", self.settings, self.space, epochs=9)
        hooks = {"plan": self.plan, "enter": self.enter, "say": self.said.append}
        return Search(self.directory, self.space, self.settings, study, **hooks)

    def plan(self, cells: Sequence[tuple[str, ...]]) -> tuple[list[Planned], list[Refused]]:
        refused = [Refused(cell, ("x=1: bad",)) for cell in cells if " ".join(cell) in self.refused]
        return [planned(cell) for cell in cells], refused

    def enter(self, planned: Planned) -> Cell:
        with locked(self.directory):
            ledger = Ledger.open(self.directory)
            name = planned.job.identity.key
            cell = ledger.enter(name, planned.job.identity, planned.overrides)
            ledger.write()
        return cell

    def run(self, search: Search, most: int = 1000) -> None:
        """As the engine does, one cell at a time; stops like a process that is killed after `most` cells."""
        for cells in search.rounds():
            for cell, planned in cells:
                if len(self.ran) == most:
                    return
                self.ran.append(text(cell))
                status = self.fates.get(text(cell), "finished")
                self.write(cell, planned, status)
                search.ended(cell, status)

    def metrics(self, cell: Cell, value: float) -> dict[str, float]:
        return {"val/acc": value + (0.5 if "seed=1" in text(cell) else 0)}

    def write(self, cell: Cell, planned: Planned, status: Status) -> None:
        value = float(dict(part.split("=") for part in text(cell).split())["x"])
        result = Result.begun(planned.job.identity)
        result.status, result.error = status, f"it {status}"
        result.metrics = self.metrics(cell, value)
        (self.directory / cell.name).mkdir(exist_ok=True)
        result.write(self.directory / cell.name)

    def trials(self) -> list[tuple[str, float | None]]:
        url = f"sqlite:///{self.directory / 'study.db'}"
        return [(trial.state.name, trial.value) for trial in optuna.load_study(study_name="s", storage=url).trials]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc"])
def test_proposals_do_not_depend_on_how_often_the_search_was_stopped(tmp_path: Path, sampler: str) -> None:
    space = space_of("lr=tag(log,interval(0.001,1))", "width=16,32", "blocks=range(1,5)")
    settings = {"sampler": sampler, "trials": 6, "startup_trials": 3}
    found: list[list[Mapping[str, Any]]] = []
    for name, stops in (("whole", False), ("stopped", True)):
        (tmp_path / name).mkdir()
        study, chosen = study_in(tmp_path / name, space, **settings), []
        while (proposal := study.ask()) is not None:
            chosen.append(proposal.chosen)
            study.complete(proposal.number, -abs(float(proposal.chosen["lr"]) - 0.1))
            study = study_in(tmp_path / name, space, **settings) if stops else study
        found.append(chosen)
    assert found[0] == found[1]
    assert len({json.dumps(chosen) for chosen in found[0]}) == 6
    other = study_in(tmp_path, space, **settings, seed=1).ask()
    assert other is not None
    assert other.chosen != found[0][0]


@pytest.mark.parametrize(("objective", "sign"), [("val/acc", -1), ("val/loss", 1)])
def test_tpe_learns_what_is_good(tmp_path: Path, objective: str, sign: int) -> None:
    """Random proposals lie 0.29 from the best value on average, those of a search for the worst 0.6."""
    space = space_of("x=interval(0,1)")
    study = study_in(tmp_path, space, trials=24, startup_trials=8, objective=objective)
    distances = []
    while (proposal := study.ask()) is not None:
        distances.append(abs(float(proposal.chosen["x"]) - 0.3))
        study.complete(proposal.number, sign * distances[-1])
    assert sum(distances[14:]) / 10 < 0.2


def test_a_trial_is_worth_the_mean_over_its_seeds(tmp_path: Path) -> None:
    stub = Stub(tmp_path, space_of("x=interval(0,1)", "seed=0,1"), trials=2)
    stub.run(stub.search())
    values = [float(name.split()[0][2:]) for name in stub.ran]
    assert [name.split()[1] for name in stub.ran] == ["seed=0", "seed=1"] * 2
    assert values[0] == values[1]
    assert stub.trials() == [("COMPLETE", pytest.approx(value + 0.25)) for value in values[::2]]


def test_a_search_that_was_killed_anywhere_does_nothing_twice(tmp_path: Path) -> None:
    space = space_of("x=interval(0,1)", "seed=0,1")
    (tmp_path / "whole").mkdir()
    whole = Stub(tmp_path / "whole", space)
    whole.run(whole.search())
    (tmp_path / "killed").mkdir()
    killed = Stub(tmp_path / "killed", space)
    for most in range(1, 9):
        killed.run(killed.search(), most)
    assert killed.ran == whole.ran
    killed.run(killed.search())
    assert killed.ran == whole.ran
    assert killed.trials() == whole.trials()
    assert [state for state, _ in whole.trials()] == ["COMPLETE"] * 4
    # More trials go on behind those that are done.
    killed.settings = SearchSettings(sampler="random", trials=5)
    killed.run(killed.search())
    assert len(killed.ran) == 10


def test_a_failed_trial_is_tried_again_at_the_next_start_and_a_diverged_one_is_a_bad_one(tmp_path: Path) -> None:
    space = space_of("x=interval(0,1)", "seed=0,1")
    (tmp_path / "look").mkdir()
    look = Stub(tmp_path / "look", space)
    look.run(look.search())
    stub = Stub(tmp_path, space)
    stub.fates = {look.ran[0]: "failed", look.ran[3]: "diverged", look.ran[4]: "interrupted"}
    stub.run(stub.search())
    # The other seed of what failed is not run; that of what was interrupted is.
    assert stub.ran == [look.ran[0], *look.ran[2:]]
    assert [state for state, _ in stub.trials()] == ["FAIL", "PRUNED", "RUNNING", "COMPLETE"]
    assert [text(cell) for cell in Ledger.open(tmp_path).cells.values()] == stub.ran
    stub.fates, stub.ran = {}, []
    stub.run(stub.search())
    assert stub.ran == [look.ran[4], look.ran[0], look.ran[1]]
    assert [state for state, _ in stub.trials()] == ["FAIL", "PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]
    stub.ran = []
    stub.run(stub.search())
    assert stub.ran == []


def test_a_value_that_is_no_number_makes_a_bad_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has null for it. That a trial diverged is known to every later start, for its exit code."""
    stub = Stub(tmp_path, space_of("x=interval(0,1)"), trials=2)
    monkeypatch.setattr(Stub, "metrics", lambda self, cell, value: {"val/acc": float("nan")})
    stub.run(stub.search())
    assert stub.trials() == [("PRUNED", None)] * 2
    assert not study_in(tmp_path, stub.space).diverged
    stub.settings = SearchSettings(sampler="random", trials=3)
    search = stub.search()
    cell, planned_cell = next(next(search.rounds()))
    stub.write(cell, planned_cell, "diverged")
    search.ended(cell, "diverged")
    assert study_in(tmp_path, stub.space).diverged


def test_with_a_pruner_the_other_seeds_wait_for_the_first(tmp_path: Path) -> None:
    stub = Stub(tmp_path, space_of("x=interval(0,1)", "seed=0,1"), pruner="median", trials=3)
    search = stub.search()
    cells = next(search.rounds())
    at_work = [next(cells) for _ in range(3)]
    assert [text(cell).split()[1] for cell, _ in at_work] == ["seed=0"] * 3
    assert [planned.overrides[-1] for _, planned in at_work] == [f"++search.trial=s/{number}" for number in range(3)]
    assert next(cells, None) is None  # nothing until one of these ends
    for (cell, planned), status in zip(at_work, ("finished", "pruned", "finished"), strict=True):
        stub.write(cell, planned, status)  # type: ignore[arg-type]
        search.ended(cell, status)
    stub.run(search)
    assert [name.split()[1] for name in stub.ran] == ["seed=1"] * 2
    assert [state for state, _ in stub.trials()] == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_a_cell_that_another_search_pruned_is_run_to_the_end(tmp_path: Path) -> None:
    space = space_of("x=interval(0,1)")
    stub = Stub(tmp_path, space, trials=1)
    proposal = study_in(tmp_path, space, sampler="random", trials=1).ask()
    assert proposal is not None
    (overrides,) = space.cells(proposal.chosen)
    before = planned((*overrides, "++search.trial=other/0"))
    stub.write(stub.enter(before), before, "pruned")
    stub.run(stub.search())
    assert stub.ran == [overrides[0]]
    assert [state for state, _ in stub.trials()] == ["COMPLETE"]


def test_a_proposal_that_cannot_be_run_counts_as_a_bad_one(tmp_path: Path) -> None:
    space = space_of("x=interval(0,1)")
    (tmp_path / "look").mkdir()
    look = Stub(tmp_path / "look", space)
    look.run(look.search())
    stub = Stub(tmp_path, space)
    stub.refused = {look.ran[1]}
    stub.run(stub.search())
    assert stub.ran == [look.ran[0], *look.ran[2:]]
    assert stub.said == [f"trial 1 left out: {look.ran[1]}: x=1: bad"]
    assert [state for state, _ in stub.trials()] == ["COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"]


def test_processes_share_the_trials_and_make_up_for_one_that_dies(tmp_path: Path) -> None:
    space = space_of("x=interval(0,1)")
    one, other = Stub(tmp_path, space), Stub(tmp_path, space)
    first, second = one.search(), other.search()
    mine, theirs = next(first.rounds()), next(second.rounds())
    held = next(mine)
    taken = [next(theirs) for _ in range(3)]
    assert len({cell.name for cell, _ in [held, *taken]}) == 4
    for cell, planned in taken:
        other.write(cell, planned, "finished")
        second.ended(cell, "finished")
    # All are taken; at its end the second process looks after the first one's, and finds its cell undone.
    assert next(theirs)[0] == held[0]
    assert next(theirs, None) is None
    assert next(mine, None) is None


def test_the_lock_of_the_ledger_is_free_while_a_cell_runs(tmp_path: Path) -> None:
    stub = Stub(tmp_path, space_of("x=interval(0,1)"))
    next(next(stub.search().rounds()))
    with locked(tmp_path):
        pass


def outcome(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


def test_a_search_from_the_command_line(train_py: TrainPy, tmp_path: Path, trained: list[str]) -> None:
    command = ("-m", "sweep=s", *RESNET, "lr=tag(log,interval(0.001,1))", "dropout=0,0.1", "seed=0,1", "search=tpe")
    ended = train_py(*command, "search.trials=2", "plan=true")
    assert (ended.code, ended.err) == (0, "")
    assert "0.001 to 1.0, logarithmic" in ended.out
    assert "0 of 2 trials done" in ended.out
    assert not (tmp_path / "multirun").exists()
    ended = train_py(*command, "search.trials=2")
    assert (ended.code, ended.err) == (0, "")
    assert len(trained) == 4
    sweep = tmp_path / "multirun" / "s"
    ledger = json.loads((sweep / "sweep.json").read_text())
    assert ledger["search"] == {"objective": "val/acc", "scales": {"lr": "log"}}
    assert ledger["axes"] == {"dropout": ["0", "0.1"], "lr": [], "seed": ["0", "1"]}
    assert [cell["name"] for cell in ledger["cells"]] == trained
    knobs = outcome(sweep / trained[0])["knobs"]
    assert re.fullmatch(rf"dropout-0(\.1)?\+lr-{knobs['lr']}\+seed-0", trained[0])
    assert {path.name for path in (sweep / "summary").glob("*.png")} >= {"search.png", "marginal_dropout.png"}
    assert not list((sweep / "summary").glob("*_lr*.png"))
    # The same command trains nothing; one trial more is one trial more, in the same study.
    trained.clear()
    assert train_py(*command, "search.trials=2").code == 0
    assert trained == []
    assert train_py(*command, "search.trials=3").code == 0
    assert len(trained) == 2
    assert states(sweep) == ["COMPLETE"] * 3


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The first arguments of a sweep, which make ``model=noisy`` known."""
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "noisy.yaml").write_text("_target_: noisy_net.Noisy\n")
    (tmp_path / "own" / "noisy_net.py").write_text(NOISY_NET)
    monkeypatch.syspath_prepend(tmp_path / "own")
    return ("--config-dir", str(tmp_path / "own"), "allow=[noisy_net]", "model=noisy")


PRUNED = ("search=random", "search.pruner=median", "search.startup_trials=1", "search.objective=val/loss")


@pytest.mark.usefixtures("summaries")
def test_the_median_stops_what_is_worse_and_a_grid_runs_it_to_the_end(
    train_py: TrainPy, tmp_path: Path, trained: list[str], noisy: tuple[str, ...]
) -> None:
    command = ("-m", *noisy, "sweep=s", *TINY, "epochs=4", "model.noise=interval(0,9)", *PRUNED, "search.trials=5")
    ended = train_py(*command)
    assert (ended.code, ended.err) == (0, "")
    sweep = tmp_path / "multirun" / "s"
    cells = [cell["name"] for cell in json.loads((sweep / "sweep.json").read_text())["cells"]]
    results = [outcome(sweep / name) for name in cells]
    complete: list[float] = []
    for result in results:
        noise = result["knobs"]["noise"]
        worse = bool(complete) and noise > sorted(complete)[len(complete) // 2 - (len(complete) % 2 == 0)]
        if len(complete) % 2:  # else the median lies between two, and which side it is on is not for this test
            assert (result["status"], result["epochs"]) == (("pruned", 2) if worse else ("finished", 4))
        assert ("test/loss" in result["metrics"]) == (result["status"] == "finished")
        complete += [noise] if result["status"] == "finished" else []
    assert {result["status"] for result in results} == {"finished", "pruned"}
    assert trained == cells
    # They are done; a grid of the same values takes the pruned ones up where they were stopped.
    trained.clear()
    assert train_py(*command).code == 0
    assert trained == []
    lost = [result for result in results if result["status"] == "pruned"]
    values = ",".join(str(result["knobs"]["noise"]) for result in results)
    assert train_py(*command[:-6], f"model.noise={values}").code == 0
    assert trained == [name for name, result in zip(cells, results, strict=True) if result in lost]
    for name in trained:
        assert outcome(sweep / name)["status"] == "finished"
        assert [row["epoch"] for row in csv.DictReader((sweep / name / "history.csv").open())] == list("0123")


@pytest.mark.usefixtures("summaries")
def test_a_process_of_its_own_asks_the_pruner_through_the_file(
    train_py: TrainPy, tmp_path: Path, noisy: tuple[str, ...]
) -> None:
    """What a launcher of ours starts: a run that is resumed from a folder which says what trial it belongs to."""
    command = (*noisy, *TINY, "epochs=4", *PRUNED)
    assert train_py("-m", *command, "sweep=s", "model.noise=interval(0,0.1)", "search.trials=1").code == 0
    sweep = tmp_path / "multirun" / "s"
    url = f"sqlite:///{sweep / 'study.db'}"
    (name,) = optuna.get_all_study_names(url)
    number = optuna.load_study(study_name=name, storage=url).ask().number
    (first,) = sweep.glob("model.noise-*")
    config = yaml.safe_load((first / ".hydra" / "config.yaml").read_text())
    config["model"]["noise"], config["search"]["trial"] = 5.0, f"{name}/{number}"
    (sweep / "cell" / ".hydra").mkdir(parents=True)
    (sweep / "cell" / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    ended = train_py(f"resume={sweep / 'cell'}", *[each for each in command if each.startswith("allow=")])
    assert (ended.code, ended.err) == (0, "")
    assert outcome(sweep / "cell")["status"] == "pruned"
    assert "pruned" in ended.out
    reported = optuna.load_study(study_name=name, storage=url).trials[number].intermediate_values
    losses = [float(row["val/loss"]) for row in csv.DictReader((sweep / "cell" / "history.csv").open())]
    assert list(reported) == [1, 2]
    assert list(reported.values()) == pytest.approx(losses)


@pytest.mark.usefixtures("summaries")
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("lr=interval(0.1,1)", "search=tpe", "search.objective=test/acc"), "allowed: one of val/acc, val/loss"),
        (("lr=interval(0.1,1)", "search=tpe", "data.val_fraction=0"), "there is no validation split"),
        (("lr=interval(0.1,1)", "search=tpf"), "Did you mean search=tpe?"),
        (("lr=interval(-1,1)", "search=tpe"), "lr=-1.0: allowed: a number"),
        (("lr=interval(0.1,1)", "search=tpe", "search.trial=s/1"), "a search sets it itself"),
        (("epochs=range(1,4)", "search=tpe", "search.pruner=median"), "runs of different lengths cannot be compared"),
        (("seed=0,1", "search=tpe"), "search: nothing to choose"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_starts(
    train_py: TrainPy, tmp_path: Path, trained: list[str], arguments: tuple[str, ...], fault: str
) -> None:
    ended = train_py("-m", "sweep=s", *RESNET, *arguments)
    assert ended.code == 2
    assert fault in ended.err
    assert "Traceback" not in ended.err
    assert (trained, list(tmp_path.glob("*/*"))) == ([], [])
