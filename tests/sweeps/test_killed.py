"""A sweep that is killed is done in the end, each cell once: `kill_sweep.py`, on a small scale.

Of Hydra's `basic`, which is one process, test_sweeper.py kills one.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KILL_SWEEP = Path(__file__).with_name("kill_sweep.py")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_sweep_that_is_killed_is_made_whole(train_py: Callable[..., Any], tmp_path: Path) -> None:
    tiny = runpy.run_path(str(KILL_SWEEP))["TINY"]
    assert train_py("-m", "sweep=undisturbed", *tiny, "epochs=8", "seed=0,1").code == 0
    sizes = ("--cells", "2", "--epochs", "8", "--kills", "1", "--spread", "0.5", "--seed", "0")
    command = [sys.executable, KILL_SWEEP, "local", *sizes, "--folder", tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.match(r"local: 2 cells finished, \d starts, killed {'(everything|the sweep|a cell)': 1}", ended.stdout)
