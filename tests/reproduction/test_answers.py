"""What is asked of the runs is answered by paired differences, and only where there are enough of them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cifarlab.figures.differences import Differences, differences
from cifarlab.reproduction.answers import answer, method, picture, sentences
from cifarlab.reproduction.page import page
from cifarlab.reproduction.questions import Question, read_questions
from cifarlab.reproduction.rows import Entry, Row, by_name, read_rows
from cifarlab.result import Result, Status
from cifarlab.verbs import reproduce

PLAIN = [0.700, 0.710, 0.714]
WITH_NORM = [0.741, 0.752, 0.753]  # seed by seed 0.041, 0.042, 0.039 more
DEEPER = [0.731, 0.712, 0.690]


def write_run(folder: Path, seed: int, accuracy: float, **knobs: object) -> None:
    folder.mkdir(parents=True)
    setting = " ".join(f"{knob}={value}" for knob, value in sorted(knobs.items()))
    Result(
        status=Status.FINISHED,
        key=f"{abs(hash(str(folder))):016x}"[:16],
        group=f"{abs(hash(setting)):016x}"[:16],
        overrides=[f"seed={seed}"],
        knobs={"data": "cifar10", "limit": None, **knobs},  # type: ignore[dict-item]
        seed=seed,
        metrics={"val/acc": accuracy, "test/acc": accuracy - 0.01},
        epochs=8,
        seconds={"total": 100.0},
        device="a device",
        precision="32",
    ).write(folder)
    (folder / "environment.json").write_text(json.dumps({"packages": {}}))


NETS = Question(
    name="nets", asks="Does it help?", of={"plain": "x-a", "with norm": "x-b", "deeper": "x-c"}, against="plain"
)


def entries(**settings: int) -> dict[str, Entry]:
    """Commands x-a, x-b, x-c of one setting each, and x-grid of as many as are said."""
    runs = dict.fromkeys(("a", "b", "c", "grid"), ("experiment=x",))
    return by_name([Row(id="R9.1", title="", said="", runs=runs, settings=settings)])


def write_nets(results: Path, **accuracies: list[float]) -> None:
    for command, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            write_run(results / f"x-{command}" / f"seed-{seed}", seed, accuracy, model=command)


def test_commands_are_compared_as_wholes_over_their_seeds(tmp_path: Path) -> None:
    write_nets(tmp_path, a=PLAIN, b=WITH_NORM, c=DEEPER)
    found = answer(NETS, entries(), tmp_path)
    assert found is not None
    assert found.metric == "val/acc"
    assert found.levels["name"].tolist() == ["plain", "with norm", "deeper"]
    assert found.levels["test"].tolist() == pytest.approx([np.mean(each) - 0.01 for each in (PLAIN, WITH_NORM, DEEPER)])
    assert found.sd == pytest.approx(np.std(PLAIN, ddof=1))
    gains = found.gains.set_index("b")
    for name, values in (("with norm", WITH_NORM), ("deeper", DEEPER)):
        expected = stats.ttest_rel(values, PLAIN)
        interval = expected.confidence_interval(0.95)
        row = gains.loc[name]
        assert (row["effect"], row["p"]) == pytest.approx((np.mean(np.subtract(values, PLAIN)), expected.pvalue))
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert gains.loc["with norm", "p_holm"] == pytest.approx(2 * gains.loc["with norm", "p"])  # of two comparisons
    text = " ".join(sentences(found))
    times = 0.122 / 3 / np.std(PLAIN, ddof=1)
    assert "plain has val/acc 0.7080, a standard deviation of 0.0072 over 3 seeds." in text
    assert "More than chance: with norm +0.0407 (+0.0369 to +0.0445, p = 0.00094" in text
    assert f"{times:.1f} standard deviations of a run" in text
    assert "Not told from chance: deeper +0.0030 (" in text
    assert method(found).startswith("paired over 3 shared seeds;")
    drawn = picture(found)
    assert (drawn.title, list(drawn.names)) == ("Does it help?", ["with norm", "deeper"])
    assert drawn.along == "val/acc, difference from plain"
    assert drawn.effects.tolist() == gains["effect"].tolist()
    assert drawn.is_clear.tolist() == [True, False]


def test_a_knob_is_asked_about_over_the_other_knobs(tmp_path: Path) -> None:
    question = Question(name="filters", asks="Larger?", of="x-grid", knob="kernel_size", against="3")
    for kernel in (2, 3):
        for blocks in (1, 5):
            for seed in range(3):
                accuracy = 0.4 + 0.1 * (kernel == 3) + 0.02 * blocks + 0.003 * seed * kernel
                folder = tmp_path / "x-grid" / f"{kernel}-{blocks}-{seed}"
                write_run(folder, seed, accuracy, kernel_size=kernel, blocks=blocks)
    found = answer(question, entries(grid=4), tmp_path)
    assert found is not None
    (gain,) = found.gains.to_dict("records")
    assert (gain["a"], gain["b"], gain["settings"], gain["pairs"]) == ("3", "2", 2, 3)
    assert gain["effect"] == pytest.approx(-0.103)  # -0.1 and -0.003 times the mean seed
    assert "averaged over 2 settings" in method(found)
    assert math.isnan(found.sd)  # a spread over blocks too is none of seeds
    assert "standard deviation" not in " ".join(sentences(found))


def test_of_numbers_the_paragraph_begins_with_whether_more_is_better(tmp_path: Path) -> None:
    question = Question(name="filters", asks="Larger?", of="x-grid", knob="kernel_size", against="3")
    for kernel in (2, 3, 5):
        for seed in range(3):
            accuracy = 0.4 + 0.02 * kernel + 0.01 * seed * (kernel == 5)
            write_run(tmp_path / "x-grid" / f"{kernel}-{seed}", seed, accuracy, kernel_size=kernel)
    found = answer(question, entries(grid=3), tmp_path)
    assert found is not None
    # places -1, 0, 1: half of last minus first, (0.06 + 0.01 seed) / 2
    assert sentences(found)[0].startswith(
        "From each value of kernel_size (2, 3, 5) to the next, val/acc changes by +0.0350 on average"
    )


def test_how_the_differences_were_had_stands_whole_below_the_figure() -> None:
    drawn = Differences(
        title="Larger?",
        along="val/acc, difference from 3",
        names=["2"],
        effects=np.array([-0.1]),
        lows=np.array([-0.2]),
        highs=np.array([0.1]),
        note="paired over 3 shared seeds and averaged over 9 settings of the other knobs; " * 2,
    )
    figure = differences(drawn)
    figure.canvas.draw()
    (below,) = [text for text in figure.texts if "paired over" in text.get_text()]
    box = below.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert box.y0 >= 0


def test_an_average_over_settings_that_disagree_says_so(tmp_path: Path) -> None:
    question = Question(name="filters", asks="Larger?", of="x-grid", knob="kernel_size", against="3")
    for kernel in (2, 3):
        for blocks, gain in ((1, 0.02), (5, -0.08)):
            for seed in range(3):
                accuracy = 0.4 + (gain + 0.001 * seed) * (kernel == 2)
                folder = tmp_path / "x-grid" / f"{kernel}-{blocks}-{seed}"
                write_run(folder, seed, accuracy, kernel_size=kernel, blocks=blocks)
    found = answer(question, entries(grid=4), tmp_path)
    assert found is not None
    assert "2 -0.0290" in sentences(found)[1]
    assert "; not so in 1 of 2 settings of the other knobs)" in sentences(found)[1]


def test_a_grid_that_lacks_a_value_is_no_answer(tmp_path: Path) -> None:
    question = Question(name="filters", asks="Larger?", of="x-grid", knob="kernel_size", against="3")
    for kernel in (2, 3):
        for seed in range(3):
            write_run(tmp_path / "x-grid" / f"{kernel}-{seed}", seed, 0.4 + 0.1 * kernel, kernel_size=kernel)
    assert answer(question, entries(grid=2), tmp_path) is not None
    assert answer(question, entries(grid=3), tmp_path) is None  # filters of 4 were asked for too


@pytest.mark.parametrize(
    "accuracies",
    [
        {},
        {"a": PLAIN},
        {"a": PLAIN, "b": WITH_NORM},
        {"a": PLAIN, "b": WITH_NORM, "c": DEEPER[:2]},
        {"b": WITH_NORM, "c": DEEPER},
    ],
)
def test_fewer_than_three_seeds_of_each_are_no_answer(tmp_path: Path, accuracies: dict[str, list[float]]) -> None:
    write_nets(tmp_path, **accuracies)
    assert answer(NETS, entries(), tmp_path) is None


def test_questions_are_of_commands_and_knobs_that_there_are(tmp_path: Path) -> None:
    known = by_name(read_rows())
    questions = read_questions()
    assert len({each.name for each in questions}) == len(questions)
    for question in questions:
        assert set(question.commands) <= set(known)
        if question.knob is None:
            assert not isinstance(question.of, str)
            assert question.against in question.of
        else:
            assert question.knob in known[question.commands[0]].row.grid
    text = page(read_rows(), tmp_path)
    assert all(f"### {question.asks}" in text for question in questions)
    assert text.count("Three seeds of each are not there yet") == len(questions)


def test_the_page_answers_and_shows_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = next(each for each in read_questions() if each.name == "tiny_nets").commands
    known = by_name(read_rows())
    for command, values in zip(commands, (PLAIN, WITH_NORM, DEEPER, WITH_NORM), strict=True):
        for seed, accuracy in enumerate(values):
            folder = tmp_path / command / f"seed-{seed}"
            write_run(folder, seed, accuracy, model=command)
            result = Result.read(folder)
            result.overrides = [*known[command].overrides, f"seed={seed}"]
            result.write(folder)
    text = page(read_rows(), tmp_path)
    assert "| tiny VGG | 3 | 0.7080, 0.6901 to 0.7259 | 0.6980, 0.6801 to 0.7159 |  |  |" in text
    assert "| with batch norm | 3 | 0.7487, 0.7321 to 0.7652 |" in text
    assert "| +0.0407, +0.0369 to +0.0445 | 0.0014 |" in text
    assert f"({tmp_path.name}/tiny_nets.png)" in text
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    written = reproduce.write_page(read_rows())
    assert written.read_text() == text
    with Image.open(tmp_path / "tiny_nets.png") as image:
        assert image.size[0] >= 600
    assert [path.name for path in tmp_path.glob("*.png")] == ["tiny_nets.png"]


def test_a_figure_has_a_dot_and_a_bar_for_each_difference() -> None:
    data = Differences(
        title="Larger?",
        along="val/acc, difference from $",
        names=["2", "a $ 5"],
        effects=np.array([-0.1, 0.02]),
        lows=np.array([-0.12, -0.01]),
        highs=np.array([-0.08, 0.05]),
    )
    panel = differences(data).axes[0]
    lines = [list(line.get_xdata()) for line in panel.get_lines()]
    assert lines[1:] == [[-0.12, -0.08], [-0.1], [-0.01, 0.05], [0.02]]
    assert [text.get_text() for text in panel.texts] == ["-0.1000", "+0.0200"]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["2", r"a \$ 5"]
    assert panel.get_xlabel() == r"val/acc, difference from \$"
    first, second = (panel.get_lines()[place].get_color() for place in (1, 3))
    assert first != second  # what leaves out zero is told apart


def test_every_picture_of_the_page_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    shown = re.findall(r"\]\((results/[^)]+\.png)\)", (root / "REPRODUCTION.md").read_text(encoding="utf-8"))
    assert len(shown) >= 10
    assert [each for each in shown if not (root / each).is_file()] == []
