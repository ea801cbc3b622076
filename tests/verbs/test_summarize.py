"""`python summarize.py`: arguments, exit codes, last line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cifarlab.verbs.summarize import UsageError, main, parse_arguments

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep(tmp_path):
    for blocks in (1, 2):
        for seed in (0, 1):
            run = tmp_path / "my sweep=1" / f"blocks-{blocks}+seed-{seed}"
            run.mkdir(parents=True)
            metrics = {"val/acc": 0.5 + 0.1 * blocks + 0.01 * seed, "test/acc": 0.5}
            result = {
                "status": "finished",
                "group": f"g{blocks}",
                "knobs": {"blocks": blocks},
                "seed": seed,
                "metrics": metrics,
            }
            (run / "result.json").write_text(json.dumps(result))
    return tmp_path / "my sweep=1"


def test_prints_the_best_settings_and_ends_with_the_page(sweep, capsys):
    assert main([str(sweep), "compare=blocks", "figures=[marginal_blocks]"]) == 0
    output = capsys.readouterr().out
    assert output.rstrip().splitlines()[-1] == str(sweep / "summary" / "index.html")
    assert "by mean validation accuracy: blocks=2." in output
    assert "Comparison: val/acc by blocks" in output
    with Image.open(sweep / "summary" / "compare_blocks.png") as image:
        assert image.size[0] >= 600
    assert "![compare_blocks](compare_blocks.png)" in (sweep / "summary" / "summary.md").read_text()


def test_wrong_arguments_are_one_message_and_exit_code_two(sweep, capsys):
    assert main([str(sweep), "compare=block"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("summarize: compare=block: not a knob")
    assert "Traceback" not in error
    assert main([]) == 2
    assert main([str(sweep), "--fast"]) == 2
    assert main([str(sweep), "figures=[heatmap]"]) == 2
    for given, allowed in (("format=gif", "png, svg, pdf"), ("dpi=9", "an integer from 50 to 600")):
        capsys.readouterr()
        assert main([str(sweep), given]) == 2
        assert capsys.readouterr().err.startswith(f"{given}: allowed: {allowed}")


def test_figures_for_print(sweep):
    assert main([str(sweep), "format=svg", "dpi=240"]) == 0
    kinds = {path.suffix: path.stem for path in (sweep / "summary").glob("marginal_*")}
    assert set(kinds) == {".png", ".svg"}
    with Image.open(sweep / "summary" / "marginal_blocks.png") as image:
        assert image.width == 7.5 * 240


def test_nothing_found_is_exit_code_one(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_parse_arguments_takes_paths_as_typed():
    parsed = parse_arguments(["figures=[a, b]", "lr=0.1,0.2/x y", "compare=lr"])
    assert (parsed.sweep_dirs, parsed.compare, parsed.figures) == (("lr=0.1,0.2/x y",), "lr", ["a", "b"])
    assert parse_arguments(["a", "b"]).sweep_dirs == ("a", "b")
    with pytest.raises(UsageError, match="expected a SWEEP_DIR, got none"):
        parse_arguments(["compare=lr"])


def test_the_script_at_the_root_helps_without_loading_anything_heavy():
    code = (
        "import sys, runpy\nsys.argv = ['summarize.py', '--help']\n"
        "try: runpy.run_path('summarize.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, {'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("usage: python summarize.py SWEEP_DIR")
    assert found.stdout.rstrip().endswith("0 set()")
