"""Models, data sets and augmentations outside of this repository work as CONTRIBUTING.md shows them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cifarlab.data.sources import MissingData
from cifarlab.job.job import Job

TrainPy = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[1]
WRITTEN = re.compile(r"```(?:python|yaml)\n# (my_\w+/\S+)\n(.*?)```", re.DOTALL)
SHORT = (
    "limit=40", "epochs=1", "batch_size=20", "precision=32", "logger=none", "figures=[]", "trainer.accelerator=cpu",
    "trainer.progress_bar=false",
)  # fmt: skip
OWN = ("--config-dir", "my_conf", "allow=[my_lab]")


def commands() -> list[list[str]]:
    """The words of the section's commands, without ``python``."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Outside of this repository\n")[2]
    (block,) = re.findall(r"```bash\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return [shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with the files that the page shows, and the pictures that one of them reads."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, content in WRITTEN.findall(text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    assert len(list(tmp_path.rglob("*.*"))) == 6
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def write_shapes(folder: Path, brightness: int) -> None:
    """Forty bright rectangles that lie, or stand, on black."""
    images = np.zeros((40, 3, 32, 32), dtype=np.uint8)
    images[::2, :, 12:20, 2:30] = brightness
    images[1::2, :, 2:30, 12:20] = brightness
    labels = np.arange(40, dtype=np.int64) % 2
    np.savez(folder / "shapes.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)


def test_as_the_page_shows_it(run_py: TrainPy, lab: Path) -> None:
    asked, trained, swept, drawn = commands()
    said = run_py(*asked)
    assert said.code == 0, said.err
    assert re.search(r"model\.patch +4 +an integer from 1 to 8 +side of a patch in pixels", said.out)

    write_shapes(lab, 200)
    place = f"data.root={lab}"
    ended = run_py(*trained, "data=shapes", place, *SHORT, "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    run = json.loads((lab / "run" / "result.json").read_text())
    assert (run["knobs"]["data"], run["knobs"]["augment"]) == ("shapes", "crop+solarize")
    assert (run["knobs"]["blocks"], run["knobs"]["patch"]) == (2, 4)
    assert run["knobs"]["augment.solarize.threshold"] == 128.0

    planned = run_py(*[word.replace("PATH", str(lab)) for word in swept], "plan=true", *SHORT)
    assert planned.code == 0, planned.err
    assert [f"augment.solarize.threshold-{value}" in planned.out for value in (64, 192)] == [True, True]

    seen = run_py(*drawn, "data=shapes", place)
    assert seen.code == 0, seen.err
    assert (lab / seen.out.splitlines()[-1]).is_file()


def test_an_own_data_set_is_packed_once_and_again_when_it_changes(lab: Path) -> None:
    from my_lab.sets import Shapes  # type: ignore[import-not-found]

    read: list[Path] = []

    class Watched(Shapes):  # type: ignore[misc]
        def read(self, root: Path) -> Any:
            read.append(root)
            return super().read(root)

    with pytest.raises(MissingData, match=r"data\.root= says where it lies"):
        Watched().prepare(lab)
    read.clear()
    write_shapes(lab, 200)
    for _ in range(2):
        assert Watched().load(lab)["train"].images.max() == 200
    assert len(read) == 1
    write_shapes(lab, 100)
    os.utime(lab / "shapes.npz", ns=(0, 0))
    assert Watched().load(lab)["train"].images.max() == 100
    assert len(read) == 2


def test_an_own_operation_is_a_part_of_the_key(compose_job: Callable[..., Job], lab: Path) -> None:
    def key(*overrides: str) -> str:
        own = (f"hydra.searchpath=[file://{lab}/my_conf]", "allow=[my_lab]")
        return compose_job(*own, "data=digits", *overrides).identity.key

    plain = key("augment=[crop]")
    with_one = key("augment=[crop,solarize]")
    assert key("augment=[solarize,crop]", "++augment.solarize.threshold=128.0") == with_one  # neither order nor default
    others = [key("augment=[crop,solarize]", "++augment.solarize.threshold=64")]
    module = sys.modules["my_lab.operations"]
    module.Solarize.version = 2
    others.append(key("augment=[crop,solarize]"))
    assert len({plain, with_one, *others}) == 4


def test_what_is_no_operation_is_refused_before_it_trains(train_py: TrainPy, lab: Path) -> None:
    path = lab / "my_lab" / "operations.py"
    path.write_text(re.sub(r"chosen = .*", "return pixels + torch.rand(8, 1, 1, 1) / 2", path.read_text()))
    ended = train_py(*OWN, "data=digits", "augment=[solarize]", *SHORT)
    assert ended.code == 2
    assert ended.err.startswith(
        "augment.solarize: gives other pictures for the same draw; take what is random from draw"
    )
    assert not (lab / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("allow=[]", "augment.solarize._target_=my_lab.operations.Solarize: only classes of"),
        ("augment.solarize._target_=my_lab.nets.PatchNet", "a kind of Operation is needed"),
        ("augment.solarize.threshold=300", "augment.solarize.threshold=300: allowed: a number from 0 to 255"),
        ("augment.solarize.thresold=3", "Did you mean augment.solarize.threshold?"),
        ("augment.solarise.threshold=3", "there is no key solarise. Did you mean augment.solarize?"),
        ("augment.solarize._target_=my_lab.operations.Nothing", "cannot be imported"),
        ("augment.solarize=3", "there is no key solarize"),
    ],
)
def test_what_is_typed_of_an_own_operation_is_checked(train_py: TrainPy, lab: Path, typed: str, fault: str) -> None:
    ended = train_py(*OWN, "data=digits", "augment=[crop,solarize]", *SHORT, typed)
    assert ended.code == 2
    assert fault in ended.err
