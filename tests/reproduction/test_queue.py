"""What is run next: worth a second, what is there already, and what fits the budget."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cifarlab.reproduction import cost, running
from cifarlab.reproduction.cost import RUN_SECONDS, Size, Speeds, probe
from cifarlab.reproduction.queue import Plan, next_task, tasks
from cifarlab.reproduction.results import Kept
from cifarlab.reproduction.rows import Row, read_rows
from cifarlab.result import Identity, Result, Status
from cifarlab.verbs import reproduce
from cifarlab.verbs.reproduce import UsageError, chosen, parse_arguments, read_plans

SPEEDS = Speeds(((10**6, 1e9), (10**9, 1e11)))


def plans() -> list[Plan]:
    row = Row(id="R9.1", title="a net", said="80 %", runs={"report": ("experiment=resnet20",)})
    dear = Row(id="R9.2", title="another", said="", worth=2.0, runs={"report": ("experiment=resnet50_cifar10",)})
    sizes = (Size(10**6, 100_000, 0), Size(10**6, 10_000_000, 0))
    return [
        Plan(entry=each.entries[0], sizes=(size,), settings=1) for each, size in zip((row, dear), sizes, strict=True)
    ]


def test_the_arithmetic_of_a_run_at_the_rate_of_the_nearest_net() -> None:
    size = Size(flops=2 * 10**6, trained=1_000, judged=500)
    assert size.arithmetic == 2e6 * (3 * 1_000 + 500)
    assert SPEEDS.seconds(size) == pytest.approx(RUN_SECONDS + 7.0)
    assert SPEEDS.seconds(Size(5 * 10**8, 1_000, 0)) == pytest.approx(RUN_SECONDS + 15.0)


def test_runs_that_were_made_tell_their_command_and_the_mean_of_its_ends_others() -> None:
    row = Row(id="R9.3", title="a grid", said="", grid=("blocks",), runs={"report": ("experiment=grid_blocks_kernel",)})
    plan = Plan(entry=row.entries[0], sizes=(Size(10**6, 100_000, 0), Size(10**6, 300_000, 0)), settings=12)
    assert [task.seconds for task in tasks([plan], {}, SPEEDS)] == pytest.approx([10 + 12 * 602, 10 + 24 * 602])
    known = replace(SPEEDS, known={"grid_blocks_kernel-report": 40.0})
    (left,) = tasks([plan], {"grid_blocks_kernel-report": {0: 12}}, known)
    assert left.seconds == 10 + 24 * 40


def test_only_runs_of_this_device_tell_its_speed() -> None:
    result = replace(
        Result.begun(Identity(key="a", group="a")), flops=10**6, images_per_second=500.0, seconds={"total": 40.0}
    )
    runs = [
        Kept(
            name=str(number), result=replace(result, device=device, seconds={"total": 30.0 + 10 * number}), versions={}
        )
        for number, device in enumerate(("here", "here", "there"))
    ]
    speeds = Speeds.measured({"a": runs, "b": runs[2:]}, "here")
    assert speeds == Speeds(((10**6, 1.5e9), (10**6, 1.5e9)), {"a": 35.0})


def test_first_seeds_come_before_further_ones_and_what_is_there_is_not_run_again() -> None:
    found = tasks(plans(), {}, SPEEDS)
    assert [(task.entry.row.id, task.seeds, task.runs) for task in found] == [
        ("R9.1", (0,), 1),
        ("R9.1", (1, 2), 2),
        ("R9.2", (0,), 1),
        ("R9.2", (1, 2), 2),
    ]
    assert [task.worth for task in found] == pytest.approx([1.0, 0.3, 2.0, 0.6])
    later = tasks(plans(), {"resnet20-report": {0: 1, 2: 1}}, SPEEDS)
    assert [(task.seeds, task.runs) for task in later if task.entry.row.id == "R9.1"] == [((1,), 1)]
    assert later[0].entry.arguments(later[0].seeds)[1:3] == ["experiment=resnet20", "seed=1"]
    every = {0: 1, 1: 1, 2: 1}
    assert not tasks(plans(), {"resnet20-report": every, "resnet50_cifar10-report": every}, SPEEDS)


def test_a_grid_is_done_when_each_seed_has_all_its_settings() -> None:
    row = Row(id="R9.3", title="a grid", said="", grid=("blocks",), runs={"report": ("experiment=grid_blocks_kernel",)})
    plan = Plan(entry=row.entries[0], sizes=(Size(10**6, 1000, 0),), settings=12)
    (left,) = tasks([plan], {"grid_blocks_kernel-report": {0: 12, 1: 5}}, SPEEDS)
    assert (left.seeds, left.runs) == ((1, 2), 7 + 12)


def test_a_task_is_begun_only_where_it_fits_the_budget() -> None:
    found = tasks(plans(), {}, SPEEDS)
    assert found[0].seconds == pytest.approx(10 + RUN_SECONDS + 300)
    assert next_task(found, 311, frozenset()) is None
    assert next_task(found, 313, frozenset()) is found[0]
    assert next_task(found, 1e9, frozenset({"resnet20-report"})) is found[2]


def test_the_probe_measures_both_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "PROBE_BATCH", 4)
    monkeypatch.setattr(cost, "PROBE_STEPS", 1)
    speeds = probe(torch.device("cpu"))
    assert [round(flops / 1e6) for flops, _ in speeds.points] == [82, 1111]  # ResNet-20 and ResNet-18, two a product
    assert all(rate > 1e8 for _, rate in speeds.points)


def test_the_commands_come_to_as_many_runs_as_their_grids_have() -> None:
    entries = {entry.name: entry for row in read_rows() for entry in row.entries}
    names = [
        "robustness-report",
        "superconvergence-short",
        "superconvergence-tuned",
        "sparse_gates-short",
        "augmentations-short",
        "transfer-report",
    ]
    found = {plan.entry.name: plan for plan in read_plans([entries[name] for name in names])}
    assert [found[name].settings for name in names] == [40, 3, 18, 3, 6, 1]
    assert found["sparse_gates-short"].sizes[0].trained == 12 * 5_000
    assert found["sparse_gates-short"].sizes[0].judged == 12 * 5_000 + 5_000
    assert [size.trained for size in found["transfer-report"].sizes] == [20 * 90_000]
    assert [size.trained for size in found["superconvergence-tuned"].sizes] == [10 * 5_000, 50 * 5_000]


@pytest.mark.parametrize("typed", ["budget=soon", "budget=-1", "plan=1", "rows=R9.9", "kinds=weak", "epochs=3"])
def test_what_is_mistyped_is_named(typed: str) -> None:
    with pytest.raises(UsageError, match=typed.split("=")[0]):
        chosen(read_rows(), parse_arguments([typed]))


def test_rows_and_kinds_choose_commands() -> None:
    rows = read_rows()
    assert {e.row.id for e in chosen(rows, parse_arguments(["rows=R4"]))} == {"R4.2", "R4.4", "R4.7", "R4.8", "R4.9"}
    strong = chosen(rows, parse_arguments(["rows=resnet20", "kinds=strong", "hydra/launcher=local"]))
    assert [entry.name for entry in strong] == ["resnet20-strong"]


def test_a_command_is_stopped_at_the_end_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "TRAIN", "http.server")
    begun = time.monotonic()
    assert running.run(["--bind", "127.0.0.1", "0"], 1.0, 10.0) is None
    assert time.monotonic() - begun < 9


def test_a_run_is_not_left_behind_by_who_is_asked_to_stop(tmp_path: Path) -> None:
    """SIGTERM to the queue is handed on; the run ends before the queue does."""
    code = (
        "import sys; from cifarlab.verbs.start import Stopped, begin, stoppable;"
        "from cifarlab.reproduction import running;"
        "running.TRAIN = 'http.server'; begin();"
        "print('here', flush=True)\n"
        "with stoppable():\n"
        "    try: running.run(['--bind', '127.0.0.1', sys.argv[1]], 60.0, 10.0)\n"
        "    except Stopped as stopped: print('stopped', stopped.args[0], flush=True)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = subprocess.Popen([sys.executable, "-c", code, str(port)], stdout=subprocess.PIPE, text=True)
    for _ in range(200):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    queue.send_signal(signal.SIGTERM)
    said, _ = queue.communicate(timeout=60)
    assert said.splitlines()[-1] == f"stopped {int(signal.SIGTERM)}"
    with socket.socket() as asking:
        assert asking.connect_ex(("127.0.0.1", port)) != 0


def test_a_plan_goes_by_the_runs_that_this_machine_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "_probed", lambda device: pytest.fail("there is a run to go by"))
    name, result = reproduce._device()[1], Result.begun(Identity(key="a" * 16, group="a" * 16))
    folder = tmp_path / "results" / "tiny_vgg-strong" / "seed-0"
    folder.mkdir(parents=True)
    typed = ["experiment=tiny_vgg", "recipe=strong", "seed=0"]
    result = replace(result, status=Status.FINISHED, overrides=typed, device=name, seconds={"total": 1234.0})
    replace(result, flops=10**6, images_per_second=100.0).write(folder)
    (folder / "environment.json").write_text("{}")
    assert reproduce.main(["plan=true", "rows=tiny_vgg", "kinds=strong"]) == 0
    assert "2,478" in capsys.readouterr().out  # two more seeds, and the start


def test_a_budget_runs_what_fits_keeps_it_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[list[str]] = []

    def run(arguments: list[str], seconds: float, grace: float) -> int:
        begun.append(arguments)
        return 1

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(reproduce, "_probed", lambda device: SPEEDS)
    quiet = "trainer.progress_bar=false"
    assert reproduce.main(["budget=100000000", "rows=tiny_vgg", "kinds=strong", quiet]) == 1
    assert [arguments[1:] for arguments in begun] == [
        [
            "experiment=tiny_vgg",
            "recipe=strong",
            "seed=0",
            "sweep=reproduction-tiny_vgg-strong",
            "trainer.progress_bar=false",
        ]
    ]
    assert "R4.2" in (tmp_path / "REPRODUCTION.md").read_text()
    assert "not finished: tiny_vgg-strong" in capsys.readouterr().out
