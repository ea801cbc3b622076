"""`python evaluate.py`: what it writes beside a run's own numbers, and every refusal."""

from __future__ import annotations

import csv
import errno
import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from safetensors import safe_open

from cifarlab.data.pictures import read_picture
from cifarlab.evaluation.export import Packaged
from cifarlab.evaluation.record import Record
from cifarlab.job.directory import reopen, write_job
from cifarlab.job.trained import Trained
from cifarlab.result import Result, Status
from cifarlab.summary import load
from cifarlab.summary.comparison import compare
from cifarlab.summary.load import read_sweep
from cifarlab.summary.tables import cells_table, ranked_by
from cifarlab.verbs import command_line

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, tiny_job: Callable[..., Any]) -> Path:
    """Two seeds of one setting and one of another, and a run that was stopped."""
    folder = tmp_path_factory.mktemp("multirun") / "tiny"
    for name, overrides in {
        "width-4+seed-0": ("seed=0",),
        "width-4+seed-1": ("seed=1",),
        "width-6+seed-0": ("seed=0", "width=6"),
    }.items():
        job = tiny_job("model=tiny_vgg", "++figures=[]", "epochs=3", "optimizer=adam", "lr=0.003", *overrides)
        write_job(job, folder / name)
        assert job.execute(folder / name).status == Status.FINISHED
    shutil.copytree(folder / "width-6+seed-0", folder / "width-6+seed-1")
    stopped = Result.read(folder / "width-6+seed-1")
    stopped.status = Status.INTERRUPTED
    stopped.write(folder / "width-6+seed-1")
    return folder


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """``python evaluate.py ARGUMENTS`` in this process and an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "CONF", ROOT / "conf")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(ROOT / "evaluate.py"), *arguments])
        GlobalHydra.instance().clear()
        capfd.readouterr()
        code: Any = 0
        try:
            runpy.run_path(str(ROOT / "evaluate.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return (code, *capfd.readouterr())

    return call


def last_path(out: str) -> Path:
    return Path(out.rstrip().splitlines()[-1])


def test_a_run_s_own_numbers_stay_and_its_calibration_stands_beside(evaluate: Any, sweep: Path) -> None:
    run = sweep / "width-4+seed-0"
    code, out, err = evaluate(f"run={run}", "per_class=true")
    assert (code, err) == (0, "")
    content = json.loads(last_path(out).read_text())
    trained = json.loads((run / "result.json").read_text())["metrics"]
    assert content["metrics"] == {name: value for name, value in trained.items() if name.startswith("test/")}
    found = content["calibration"]
    assert found["test/nll"] == pytest.approx(trained["test/loss"], rel=1e-5)
    assert found["val/nll"] == pytest.approx(trained["val/loss"], rel=1e-5)
    assert found["val/nll_scaled"] <= found["val/nll"]
    assert len(content["per_class"]) == 10
    assert f"scaled: by the temperature {found['temperature']:.4f}, fitted on validation" in out


def test_what_a_directory_does_not_take_is_printed_all_the_same(
    evaluate: Any, sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sweep / "width-4+seed-0"

    def refuse(self: Record, directory: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(directory / "evaluation.json"))

    monkeypatch.setattr(Record, "write", refuse)
    code, out, err = evaluate(f"run={run}")
    assert (code, err) == (1, f"[Errno 13] Permission denied: '{run / 'evaluation.json'}'\n")
    assert "macro avg" in out
    assert "Calibration" in out


def test_a_sweep_is_tested_joined_and_summed_up(evaluate: Any, sweep: Path) -> None:
    code, out, err = evaluate(f"run={sweep}")
    assert code == 0, err
    assert "width-6+seed-1: left out: the run ended as interrupted" in err
    assert "1 of 2 settings have one finished run alone; an ensemble takes two" in err
    rows = list(csv.DictReader((sweep / "evaluation" / "ensembles.csv").open()))
    assert (rows[0]["setting"], rows[0]["members"]) == ("width=4", "2")
    shares = []
    for name in ("width-4+seed-0", "width-4+seed-1"):
        trained = Trained(sweep / name)
        logits, labels = trained.logits(trained.data.batches("test"))
        shares.append(logits.double().softmax(dim=1))
    right = (sum(shares).argmax(dim=1) == labels).double().mean().item()  # type: ignore[union-attr]
    assert float(rows[0]["test/acc"]) == pytest.approx(right, abs=1e-9)
    with Image.open(sweep / "evaluation" / "ensembles.png") as picture:
        assert picture.format == "PNG"
    table = load(sweep).set_index("name")
    said = json.loads((sweep / "width-4+seed-1" / "evaluation.json").read_text())["calibration"]
    assert table.loc["width-4+seed-1", "val/ece"] == said["val/ece"]
    assert np.isnan(table.loc["width-6+seed-1", "val/ece"])
    cells = cells_table(read_sweep(sweep)).set_index("width")
    both = table.loc[["width-4+seed-0", "width-4+seed-1"], "val/nll"]
    assert cells.loc[4, "val/nll_mean"] == pytest.approx(both.mean())
    order = ranked_by(read_sweep(sweep), cells_table(read_sweep(sweep)), "val/nll")
    assert order["val/nll"].is_monotonic_increasing
    assert set(order["n"]) == {1, 2}
    (pair,) = compare(read_sweep(sweep), "width", "val/ece").to_dict("records")
    ece = table["val/ece"]
    assert pair["effect"] == pytest.approx(ece["width-6+seed-0"] - ece["width-4+seed-0"])
    with pytest.raises(ValueError, match=r"metric=test/ece: allowed here: val/acc, val/loss, val/nll"):
        compare(read_sweep(sweep), "width", "test/ece")
    # Two of the runs by name, and one alone.
    code, out, _ = evaluate(f"run=[{sweep / 'width-4+seed-0'},{sweep / 'width-6+seed-0'}]")
    assert code == 0
    assert "width-4+seed-0" in out
    alone = sweep.parent / "alone"
    shutil.copytree(sweep / "width-4+seed-0", alone / "seed-0", dirs_exist_ok=True)
    code, out, err = evaluate(f"run={alone}")
    assert code == 0
    assert "1 of 1 settings have one finished run alone" in err
    assert not (alone / "evaluation").exists()


def test_corruptions_are_a_table_a_figure_and_a_metric(evaluate: Any, sweep: Path) -> None:
    run = sweep / "width-4+seed-1"
    code, out, err = evaluate(f"run={run}", "shift=corruptions")
    assert code == 0, err
    rows = list(csv.DictReader((run / "corruptions.csv").open()))
    assert len(rows) == 75
    content = json.loads(last_path(out).read_text())
    mean = np.mean([1 - float(row["acc"]) for row in rows])
    assert content["shift"]["test/mce"] == pytest.approx(mean)
    assert content["corruptions"]["source"] == "ours"
    with Image.open(run / "figures" / "corruptions.png") as picture:
        assert picture.format == "PNG"
    evaluate(f"run={run}")  # the same weights: what was said of shifts stays
    assert json.loads((run / "evaluation.json").read_text())["shift"] == content["shift"]
    code, _, err = evaluate(f"run={run}", "shift=cifar10.1")
    assert code == 2
    assert err.strip() == "shift=cifar10.1: the run is of data=digits; allowed: runs of data=cifar10"


def test_pictures_of_any_kind_are_classified_and_wrong_files_named(evaluate: Any, sweep: Path, tmp_path: Path) -> None:
    run, folder = sweep / "width-4+seed-0", tmp_path / "mine, with=signs"
    (folder / "inner").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "wide.jpg")
    Image.fromarray(pixels[:40, :40]).convert("LA").save(folder / "inner" / "grey.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    code, out, err = evaluate(f"run={run}", f"images={folder}")
    assert code == 0, err
    assert err.strip() == f"{folder / 'notes.txt'}: skipped: no picture of a known format"
    table = last_path(out)
    rows = list(csv.DictReader(table.open()))
    assert [row["file"] for row in rows] == ["inner/grey.png", "wide.jpg"]
    trained = Trained(run)
    seen = torch.from_numpy(read_picture(folder / "wide.jpg", 32).pixels.copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (trained.data.mean, trained.data.std))
    with torch.no_grad():
        shares = trained.net.eval()((seen - mean) / std).softmax(dim=1)[0]
    found = [float(rows[1][name]) for name in trained.data.classes]
    np.testing.assert_allclose(found, shares.numpy(), atol=1e-5)
    assert rows[1]["class"] == trained.data.classes[int(shares.argmax())]
    with Image.open(table.with_suffix(".png")) as sheet:
        assert sheet.format == "PNG"
    code, _, err = evaluate(f"run={run}", f"images={folder / 'notes.txt'}")
    assert code == 2
    assert "none of 1 files gives a picture" in err
    code, _, err = evaluate(f"run={run}", "images=nowhere")
    assert (code, err.strip()) == (2, "images=nowhere: there is no such file or folder")


@pytest.mark.parametrize("format", ["state_dict", "torchscript", "pt2", "onnx"])
def test_an_exported_net_answers_as_the_run_s(evaluate: Any, sweep: Path, format: str) -> None:
    if format == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)
    run = sweep / "width-4+seed-0"
    code, out, err = evaluate(f"run={run}", f"export={format}")
    assert code == 0, err
    path = last_path(out)
    trained = Trained(run)
    pictures = trained.data.split("test").images[40:47]  # others than were compared, and another number of them
    with torch.no_grad():
        wanted = trained.net.eval()(next(iter(trained.data.batches("test")))[0][40:47]).numpy()
    shown = pictures.permute(0, 2, 3, 1).contiguous()
    about = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert about["classes"] == list(trained.data.classes)
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        found = session.run(None, {"images": shown.numpy()})[0]
        assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == about["classes"]
    elif format == "torchscript":
        found = torch.jit.load(path)(shown).detach().numpy()
    elif format == "pt2":
        found = torch.export.load(path).module()(shown).detach().numpy()
    else:
        with safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["mean"]) == list(trained.data.mean)
            net = reopen(run).parts["model"](10).eval()
            net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        packaged = Packaged(net, trained.data.mean, trained.data.std, input="float")
        found = packaged(pictures.float() / 255).detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shift=fog"], "shift=fog: allowed: one of none, corruptions, cifar10.1"),
        (["export=onnx", "images=x"], "images= and export= are asked for at once; give one of them"),
        (["export=onnx", "shift=corruptions"], "export= and shift= are asked for at once; give one of them"),
        (["input=float"], "input=float: only export=onnx, torchscript and pt2 read it"),
        (["seed=3"], "seed=3: only shift=corruptions reads it"),
        (["per_clas=true"], "per_clas=True: there is no key per_clas. Did you mean per_class?"),
    ],
)
def test_wrong_options_are_one_line(evaluate: Any, sweep: Path, arguments: list[str], says: str) -> None:
    code, _, err = evaluate(f"run={sweep / 'width-4+seed-0'}", *arguments)
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1


def test_runs_that_cannot_be_asked_are_named(evaluate: Any, sweep: Path, tmp_path: Path) -> None:
    code, _, err = evaluate(f"run={sweep}", "export=state_dict")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "is no run's directory; give one of the runs in it" in err
    code, _, err = evaluate(f"run={sweep / 'width-6+seed-1'}")
    assert code == 0
    assert err.strip().endswith("the run ended as interrupted; these are the best weights that it has left")
    bare = tmp_path / "bare"
    shutil.copytree(sweep / "width-4+seed-0", bare / "seed-0")
    (bare / "seed-0" / "checkpoints" / "best.ckpt").unlink()
    for run in (bare / "seed-0", bare):
        code, _, err = evaluate(f"run={run}")
        assert code == 2
        assert "best.ckpt is missing: the run has no weights yet, or was told checkpoints=none" in err
        assert "Traceback" not in err
    code, _, err = evaluate(f"run={tmp_path / 'nothing'}")
    assert (code, len(err.splitlines())) == (2, 1)
    (tmp_path / "empty").mkdir()
    code, _, err = evaluate(f"run={tmp_path / 'empty'}")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "not a run directory" in err


def test_help_lists_the_options(evaluate: Any) -> None:
    code, out, _ = evaluate("--help")
    assert code == 0
    assert "shift       test elsewhere too" in out
    assert "none, onnx, torchscript, pt2, state_dict" in " ".join(out.split())
