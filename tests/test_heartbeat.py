"""How far a run is, seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cifarlab import heartbeat
from cifarlab.heartbeat import FILE, Heartbeat, how_far


def test_a_run_at_work_says_its_epoch_and_leaves_nothing_behind(tmp_path):
    beat = Heartbeat(tmp_path, 12)
    assert how_far(tmp_path) is None
    beat.beat(0)
    assert how_far(tmp_path) == "running, epoch 0/12"
    beat._written -= 2.0
    beat.beat(4)
    assert how_far(tmp_path) == "running, epoch 4/12"
    beat.end()
    assert how_far(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    beat.end()


def test_short_epochs_write_once_a_second(tmp_path, monkeypatch: pytest.MonkeyPatch):
    clock, written = [1000.0], []
    monkeypatch.setattr(heartbeat.time, "time", lambda: clock[0])
    monkeypatch.setattr(heartbeat, "write_json", lambda path, values: written.append(values["epoch"]))
    beat = Heartbeat(tmp_path, 100)
    for epoch in range(41):
        beat.beat(epoch)
        clock[0] += 0.25
    assert written == [0, *range(4, 41, 4)]


def changed(directory: Path, **values: object) -> str | None:
    content = json.loads((directory / FILE).read_text())
    (directory / FILE).write_text(json.dumps(content | values))
    return how_far(directory)


def test_the_dead_are_told_from_the_living(tmp_path):
    Heartbeat(tmp_path, 3).beat(0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert changed(tmp_path, process=ended.pid) is None
    assert changed(tmp_path, process=os.getppid()) == "running, epoch 0/3"
    # On another machine only the time of the last word tells: ten epochs of a minute and a half, not ten minutes.
    far = {"host": "elsewhere", "longest_epoch": 90.0}
    assert changed(tmp_path, time=time.time() - 890, **far) == "running, epoch 0/3"
    assert changed(tmp_path, time=time.time() - 910, **far) is None
    assert changed(tmp_path, time=time.time() - 590, host="elsewhere", longest_epoch=0.0) == "running, epoch 0/3"
    assert changed(tmp_path, time=time.time() - 610, host="elsewhere", longest_epoch=0.0) is None
    (tmp_path / FILE).write_text("{")
    assert how_far(tmp_path) is None
