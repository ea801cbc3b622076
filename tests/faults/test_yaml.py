"""A file of the config tree that cannot be read is named, with the line, and harms nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen

TrainPy = Callable[..., Any]
GLOBAL = b"# @package _global_\n"
BOMB = b"a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 8)) for name in range(ord("b"), ord("z"))
)
BROKEN = {
    "latin": (GLOBAL + b"# What: caf\xe9.\nlr: 0.1\n", ", line 2: the byte 0xe9 is no UTF-8; save the file as UTF-8"),
    "utf16": ("lr: 0.1\n".encode("utf-16"), ", line 1: the byte 0xff is no UTF-8"),
    "bracket": (GLOBAL + b"lr: [1\nepochs: 2\n", ", line 3: no YAML (expected ',' or ']', but got ':')"),
    "tab": (GLOBAL + b"model:\n\twidth: 4\n", ", line 3: no YAML (found character '\\t' that cannot start any token)"),
    "control": (GLOBAL + b"lr: \x01\n", ", line 2: no YAML (special characters are not allowed)"),
    "twice": (b"lr: 0.1\nlr: 0.2\n", ", line 2: no YAML (found duplicate key lr)"),
    "list": (b"- lr\n", ": a mapping is needed"),
    "deep": (b"lr: " + b"[" * 5000, ": nested too deeply"),
    "bomb": (BOMB, ": its aliases stand for "),
    "large": (b"#" * 1_000_001, ": 1,000,001 bytes are no configuration; allowed: at most 1,000,000"),
    "interpolation": (GLOBAL + b"lr: ${oops\n", ": no viable alternative at input '${oops'"),
}
TINY = ("data=digits", "limit=60", "width=4", "epochs=1", "trainer.accelerator=cpu", "logger=none")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of the user's with a broken experiment of every kind."""
    folder = tmp_path / "own" / "experiment"
    folder.mkdir(parents=True)
    for name, (content, _) in BROKEN.items():
        (folder / f"{name}.yaml").write_bytes(content)
    return folder.parent


def test_a_broken_experiment_is_named_with_its_line(train_py: TrainPy, own: Path) -> None:
    """Case 17."""
    for name, (_, said) in BROKEN.items():
        ended = train_py("--config-dir", str(own), f"experiment={name}", *TINY)
        assert (ended.code, ended.out) == (2, ""), name
        assert ended.err.startswith(f"{own / 'experiment' / name}.yaml{said}"), name
        assert len(ended.err.splitlines()) == 1, name
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_help_lists_what_lies_in_the_user_s_folder_and_survives_what_is_broken_there(
    train_py: TrainPy, own: Path
) -> None:
    (own / "experiment" / "fine.yaml").write_text("# @package _global_\n# What: Tries one thing. Then another.\n")
    (own / "model").mkdir()
    (own / "model" / "mine.yaml").write_text("_target_: cifarlab.models.tiny_vgg.TinyVGG\nwidth: 7\n")
    ended = train_py("--help", f"--config-dir={own}", "model=mine")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["fine", "Tries", "one", "thing."] in lines
    assert ["width", "7"] in [line[:2] for line in lines]
    assert any(line[0] == "model" and "mine," in line and "resnet," in line for line in lines if line)
    assert "the byte 0xe9 is no UTF-8" in " ".join(ended.out.split())
    nowhere = train_py("--help", "-cd", "nowhere")
    assert (nowhere.code, nowhere.err) == (2, "--config-dir nowhere: there is no such folder\n")
    both = train_py("--help", "-cd", str(own), f"hydra.searchpath=[file://{own.parent}]", "experiment=fine")
    assert both.code == 0


def test_a_byte_order_mark_is_no_part_of_a_file(train_py: TrainPy, tmp_path: Path) -> None:
    """Case 17."""
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "marked.yaml").write_bytes(b"\xef\xbb\xbf" + GLOBAL + b"lr: 0.0625\n")
    ended = train_py("--config-dir", "own", "experiment=marked", *TINY, "--cfg", "job")
    assert (ended.code, ended.err) == (0, "")
    assert "lr: 0.0625" in ended.out.splitlines()


def test_an_experiment_that_says_not_where_it_belongs(train_py: TrainPy, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "lost.yaml").write_text("lr: 0.1\n")
    ended = train_py("--config-dir", "own", "experiment=lost", *TINY)
    assert (ended.code, ended.err) == (
        2,
        "experiment=lost: the first line of its file must be # @package _global_\n",
    )


@pytest.mark.parametrize("name", ["config.yaml", "hydra.yaml"])
def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / ".hydra"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / name).write_bytes(b"seed: [\xff\n")
    with pytest.raises(ConfigError, match=rf"{name}, line 1: the byte 0xff is no UTF-8"):
        reopen(tmp_path)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["optimzer=adam"], "optimzer=adam: there is no key optimzer. Did you mean optimizer? Allowed: "),
        (["experimnt=demo"], "experimnt=demo: there is no key experimnt. Did you mean experiment? Allowed: "),
        (["kernal_size=3"], "kernal_size=3: resnet has no kernal_size. Did you mean kernel_size? Allowed: "),
    ],
)
def test_a_group_is_among_the_words_that_could_have_been_meant(train_py: TrainPy, typed: list[str], said: str) -> None:
    assert train_py(*typed).err.startswith(said)


def test_a_long_list_of_what_is_allowed_is_said_once() -> None:
    words = ", ".join(f"word{number}" for number in range(12))
    error = ConfigError(
        [
            f"a=1: there is no key a. Did you mean b? Allowed: {words}  (1 of 3 cells)",
            f"c=2: there is no key c. Allowed: {words}  (1 of 3 cells)",
            "d=3: allowed: an integer from 1 to 9",
            "d=4: allowed: an integer from 1 to 9",
            f"e=word: allowed: one of {words}. Did you mean word1?",
            f"e=wrd: allowed: one of {words}. Did you mean word2?",
        ]
    )
    assert str(error).splitlines()[1:] == [
        "c=2: there is no key c. Allowed: as above  (1 of 3 cells)",
        "d=3: allowed: an integer from 1 to 9",
        "d=4: allowed: an integer from 1 to 9",
        f"e=word: allowed: one of {words}. Did you mean word1?",
        "e=wrd: allowed: as above. Did you mean word2?",
    ]
    assert len(error.faults) == 6
