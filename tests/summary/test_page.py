"""The page: self-contained, escaped, and alive in a browser."""

import base64
import gzip
import importlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cifarlab.summary import summarize
from cifarlab.summary.charts.look import BOX, COLOUR, DARK_SHEET, GREY, GRID, LEAST_CONTRAST, PANE, SHEET, contrast
from cifarlab.summary.charts.surfaces import grid3d
from cifarlab.summary.load import read_sweep
from cifarlab.summary.page import _cell, _cells, badge

# Their package gives these names to functions.
cost_module, curves_module, marginals_module = (
    importlib.import_module(f"cifarlab.summary.charts.{name}") for name in ("cost", "curves", "marginals")
)
page_module = importlib.import_module("cifarlab.summary.page")
EVIL = "</script><script>alert(1)</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# What the page itself must say of a browser that ran it: appended to a copy of the page, read back from the dumped DOM.
PROBE = """
<script type="module">
const report = {menus: 0, charts: [], faults: []};
const choose = async (select, at) => {
  select.selectedIndex = at;
  select.dispatchEvent(new Event("change"));
  await new Promise(later => setTimeout(later, 50));
};
addEventListener("error", event => report.faults.push(event.message));
try {
  for (const chart of document.querySelectorAll(".js-plotly-plot")) {
    report.charts.push(chart.id);
    for (const select of chart.previousElementSibling.querySelectorAll("select"))
      for (let at = 0; at < select.options.length; at++) {
        await choose(select, at);
        report.menus += 1;
      }
  }
  const heatmap = document.getElementById("heatmap");
  const metrics = heatmap.previousElementSibling.lastElementChild;
  await choose(metrics, [...metrics.options].findIndex(option => option.label.startsWith("seconds")));
  report.seconds = heatmap.data[0].z;
} catch (fault) { report.faults.push(String(fault)); }
while (!document.body.dataset.tables) await new Promise(later => setTimeout(later, 50));
report.tables = document.querySelectorAll("div.dt-container").length;
const runs = document.getElementById("section-runs");
const search = runs.querySelector("input[type=search]");
search.value = "cell13";
search.dispatchEvent(new Event("input"));
await new Promise(later => setTimeout(later, 1000));
report.left = [...runs.querySelectorAll("tbody a")].map(link => link.textContent);
document.title = JSON.stringify(report);
</script></body>"""


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, make_run):
    """The page of three axes, one of them with markup for a value, and of failed runs with markup for an error."""
    sweep = tmp_path_factory.mktemp("page") / "hostile"
    cells = []
    number = 0
    for blocks in (1, 2):
        for kernel_size in (2, 3):
            for note in ("plain", EVIL):
                for seed in (0, 1):
                    knobs = {"blocks": blocks, "kernel_size": kernel_size, "note": note, "seed": seed}
                    failed = number % 5 == 4
                    ended = (
                        {"status": "failed", "error": f"Traceback\nValueError: {EVIL}", "metrics": {}} if failed else {}
                    )
                    make_run(sweep / f"cell{number}", knobs, 0.5 + 0.01 * number, **ended)
                    cells.append({"name": f"cell{number}"})
                    number += 1
    axes = {"blocks": ["1", "2"], "kernel_size": ["2", "3"], "note": ["plain", EVIL], "seed": ["0", "1"]}
    plan = {
        "schema": 1,
        "name": f"hostile {EVIL}",
        "commands": [f"python train.py note={EVIL}"],
        "axes": axes,
        "cells": cells,
    }
    (sweep / "sweep.json").write_text(json.dumps(plan))
    return summarize(sweep, compare="note")


def test_markup_never_appears_raw(hostile):
    page = hostile.read_text()
    assert "alert(1)" in page
    for position in (match.start() for match in re.finditer(re.escape("alert(1)"), page)):
        before = page[max(position - 16, 0) : position]
        assert before.endswith(("script&gt;", "script\\u003e", "script\\u0026gt;")), before
    elements = Elements()
    elements.feed(page)
    # plotly, the charts' data, DataTables, the colours for the dark, and the two starters: nothing slipped in between.
    assert [attributes.get("type") for tag, attributes in elements.found if tag == "script"] == [
        None,
        "application/json",
        "application/octet-stream",
        "application/json",
        None,
        "module",
    ]


def test_page_asks_no_server_for_anything_and_links_relatively(hostile):
    page = hostile.read_text()
    elements = Elements()
    elements.feed(page)
    assert not [tag for tag, attributes in elements.found if "src" in attributes or tag in ("link", "iframe", "img")]
    links = [attributes["href"] for tag, attributes in elements.found if tag == "a"]
    assert "../cell3/" in links
    assert all(link.startswith(("../cell", "#section-")) or "/" not in link for link in links)
    assert f"tensorboard --logdir {hostile.parent.parent}" in page


def test_failed_runs_show_their_error(hostile):
    page = hostile.read_text()
    assert "Not finished (3)" in page
    assert page.count("<details>") == 3
    assert "ValueError: &lt;/script&gt;" in page


def test_charts_hold_the_numbers_of_the_runs(make_sweep):
    sweep = make_sweep(
        {"blocks": [1, 2], "kernel_size": [2, 3], "seed": [0, 1]}, lambda k: 0.1 * k["blocks"] + 0.01 * k["seed"]
    )
    page = summarize(sweep).read_text()
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])
    assert set(charts) == {"heatmap", "marginal", "curves", "cost"}
    assert charts["heatmap"]["data"][0]["z"] == [[0.105, 0.205], [0.105, 0.205]]
    assert "val/acc 0.1050<br>sd 0.0071, n = 2" in charts["heatmap"]["data"][0]["hovertext"][0][0]
    assert charts["marginal"]["data"][0]["y"] == [0.1, 0.11, 0.1, 0.11, 0.2, 0.21, 0.2, 0.21]
    assert charts["marginal"]["data"][1]["y"] == [0.105, 0.205]
    assert [entry["label"] for entry in charts["heatmap"]["layout"]["updatemenus"][1]["buttons"]] == [
        "val/acc",
        "test/acc (not for choosing)",
        "val/loss",
        "seconds",
    ]


def test_names_are_not_joined_and_a_diverged_run_does_not_flatten_the_losses(make_sweep, alter):
    sweep = make_sweep({"optimizer": ["sgd", "adam"], "blocks": [1, 2]}, lambda knobs: 0.5)
    diverged = sweep / "optimizer-adam+blocks-2"
    alter(diverged, status="diverged", metrics={})
    (diverged / "history.csv").write_text("epoch,val/loss,val/acc\n0,2.5,0.1\n1,90000,0.1\n")
    page = summarize(sweep).read_text()
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])
    assert [trace["mode"] for trace in charts["marginal"]["data"] if "mode" in trace] == ["markers", "lines+markers"]
    loss = charts["curves"]["layout"]["updatemenus"][0]["buttons"][1]["args"][1]
    # The others' losses go from 1 to 1 / 3.
    assert loss["yaxis.range"] == pytest.approx([0.3, 1.0333], abs=1e-4)
    accuracy = charts["curves"]["layout"]["updatemenus"][0]["buttons"][0]["args"][1]
    assert (accuracy["yaxis.autorange"], accuracy["yaxis.range"]) == (True, None)


def test_a_cube_shows_what_was_lost(make_sweep, alter):
    sweep = make_sweep({"a": [1, 2], "b": [1, 2], "c": [1, 2]}, lambda knobs: 0.5)
    alter(sweep / "a-2+b-1+c-2", status="diverged", metrics={})
    balls, crosses = grid3d(read_sweep(sweep), ["a", "b", "c"], ["val/acc", "val/loss"]).data
    assert len(balls.x) == 7
    assert [crosses[side] for side in "xyz"] == [("2",), ("1",), ("2",)]


def test_statuses_have_their_colour_and_numbers_sort_as_numbers():
    assert badge("running, epoch 4/12") == '<span class="badge running">running, epoch 4/12</span>'
    assert badge("<b>") == '<span class="badge ">&lt;b&gt;</span>'
    table = pd.DataFrame({"lr": [10, "auto", 9, 1e-05], "sd": [0.25, np.nan, 2.0, 1e-07], "net": ["b", "a", "b", "c"]})
    _, rows = _cells(table, {})
    shown = [[_cell(*cell) for cell in row] for row in rows]
    assert [row[0] for row in shown] == [
        '<td data-order="2.0">10</td>',
        '<td data-order="3.0">auto</td>',
        '<td data-order="1.0">9</td>',
        '<td data-order="0.0">1e-05</td>',
    ]
    assert [row[1] for row in shown] == [
        '<td data-order="0.25">0.25</td>',
        "<td></td>",
        '<td data-order="2.0">2</td>',
        '<td data-order="1e-07">1e-07</td>',
    ]
    assert [row[2] for row in shown] == ["<td>b</td>", "<td>a</td>", "<td>b</td>", "<td>c</td>"]


def test_every_colour_can_be_read_in_the_dark(hostile):
    page = hostile.read_text()
    charts, dark = (re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)[1] for name in ("charts", "dark"))
    pairs = json.loads(dark)
    assert set(pairs) == {colour.lower() for colour in COLOUR.findall(charts)}
    assert (pairs["#ffffff"], pairs["#222222"]) == (DARK_SHEET, "#e4e8ee")
    for colour, instead in pairs.items():
        assert contrast(instead, DARK_SHEET) >= LEAST_CONTRAST or colour in (SHEET, GREY, GRID, BOX, PANE), colour
    assert (contrast("#000000", "#ffffff"), contrast("#777777", "#777777")) == (pytest.approx(21), 1)
    # The page's own texts, in both schemes (WCAG 2.1, 1.4.3: 4.5 to 1).
    light, night = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part)) for part in re.findall(r":root {(.*?)}", page, re.DOTALL)
    )
    assert light.keys() == night.keys()
    for scheme in (light, night):
        for ink, back in (
            *(("ink", back) for back in ("sheet", "back", "warn-back", "grey-back")),
            *((ink, "sheet") for ink in ("quiet", "blue")),
            *((kind, f"{kind}-back") for kind in ("red", "amber", "green", "steel")),
        ):
            assert contrast(scheme[ink], scheme[back]) >= 4.5, (ink, back)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_every_menu_and_table_works_in_chromium(hostile, tmp_path):
    probed = hostile.with_name("probed.html")
    probed.write_text(PROBE.join(hostile.read_text().rsplit("</body>", 1)))
    flags = (
        "--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--virtual-time-budget=30000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", probed.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
    report = json.loads(title.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert report["faults"] == []
    assert report["charts"] == ["heatmap", "marginal", "grid3d", "curves", "cost"]
    # 3 pairs and 3 x 2 slices, 3 axes, one triple, which needs no list; four metrics for each; two curves; two costs.
    assert report["menus"] == (9 + 4) + (3 + 4) + 4 + 2 + 2
    assert report["seconds"][0][0] == pytest.approx(10.515, abs=0.01)
    assert report["tables"] == 2
    assert report["left"] == ["cell13"]


def columns_of(page):
    """What the page holds of its large tables."""
    texts = re.findall(r'class="columns">(.*?)</script>', page)
    return [json.loads(gzip.decompress(base64.b64decode(text))) for text in texts]


@pytest.fixture
def large(make_run, tmp_path, monkeypatch):
    """The page of six runs, which count as many: they are packed in columns, and their two settings are not."""
    monkeypatch.setattr(page_module, "MOST_ROWS", 4)
    sweep = tmp_path / "large"
    for number in range(6):
        knobs = {"note": (EVIL, "plain")[number // 3], "seed": number % 3}
        lost = {"status": "failed", "metrics": {}} if number == 0 else {}
        make_run(sweep / f"cell{number}", knobs, 0.1234567891 + 0.1 * (number % 3), **lost)
    cells = [{"name": f"cell{number}"} for number in range(6)]
    axes = {"note": [EVIL, "plain"], "seed": ["0", "1", "2"]}
    (sweep / "sweep.json").write_text(json.dumps({"schema": 1, "name": "large", "axes": axes, "cells": cells}))
    return summarize(sweep)


def test_a_large_table_is_packed_in_columns_with_seven_digits_to_sort_by(large):
    page = large.read_text()
    (columns,) = columns_of(page)
    titles = re.findall(r"<th>(.*?)</th>", page.rpartition('<table class="data')[2])
    by_title = dict(zip(titles, columns, strict=True))
    assert len(by_title["name"]["shown"]) == 6
    assert re.fullmatch(r'<a href="../[^"<>]*/">[^<>]*</a>', by_title["name"]["shown"][0])
    assert "&lt;script&gt;" in by_title["note"]["shown"][0]
    assert not any(EVIL in text for column in columns for text in column["shown"])
    assert sorted(by_title["val/acc"]["shown"]) == ["", "0.12346", "0.22346", "0.22346", "0.32346", "0.32346"]
    assert sorted(each for each in by_title["val/acc"]["order"] if each is not None)[0] == 0.1234568
    assert by_title["seed"] == {"shown": ["0", "1", "2"] * 2, "order": [0, 1, 2] * 2}
    assert by_title["status"]["order"] is None


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_columns_reach_the_table_cell_by_cell(large, tmp_path):
    """The page's own script, with a document and a table library that only take down what they are given."""
    page = large.read_text()
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)[1]
    script, replaced = re.subn(r"await import\(.*?\);\n", "globalThis;\n", script)
    assert replaced == 1
    library = re.search(r'id="datatables">(.*?)</script>', page)[1]
    columns = re.search(r'class="columns">(.*?)</script>', page)[1]
    (tmp_path / "page.mjs").write_text(
        f"""
        const given = [], beside = {{textContent: "{columns}", matches: () => true}};
        globalThis.document = {{
          body: {{dataset: {{}}}}, getElementById: () => ({{textContent: "{library}"}}),
          querySelectorAll: () => [{{nextElementSibling: null}}, {{nextElementSibling: beside}}],
        }};
        globalThis.jQuery = table => ({{DataTable: options => given.push(options)}});
        {script}
        const {{data, columns}} = given[1];
        const read = type => data.map(row => columns.map(column => column.data(row, type)));
        console.log(JSON.stringify([source.length, "data" in given[0], read("display"), read("sort")]));
        """
    )
    said = subprocess.run(["node", tmp_path / "page.mjs"], capture_output=True, text=True, timeout=60, check=True)
    length, is_filled, shown, order = json.loads(said.stdout)
    assert (length > 100_000, is_filled) == (True, False)
    (packed,) = columns_of(page)
    assert [list(row) for row in zip(*(column["shown"] for column in packed), strict=True)] == shown
    place = next(number for number, column in enumerate(packed) if column["order"] is not None)
    assert [row[place] for row in order][1:] == packed[place]["order"][1:]


def test_of_very_many_runs_and_settings_a_chart_holds_boxes_and_an_even_choice(make_sweep, monkeypatch):
    axes = {"blocks": [1, 2], "kernel_size": [2, 3, 4], "seed": [0, 1]}
    sweep = make_sweep(axes, lambda knobs: 0.1 * knobs["blocks"] + 0.02 * knobs["kernel_size"])
    monkeypatch.setattr(marginals_module, "MOST_RUNS", 11)
    monkeypatch.setattr(curves_module, "MOST_CURVES", 4)
    monkeypatch.setattr(cost_module, "MOST_SETTINGS", 3)
    page = summarize(sweep).read_text()
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])
    box = charts["marginal"]["data"][0]
    assert (box["x"], "y" in box) == (["1", "2"], False)
    quartiles = [box[name] for name in ("lowerfence", "q1", "median", "q3", "upperfence")]
    assert quartiles == [[0.14, 0.24], [0.145, 0.245], [0.16, 0.26], [0.175, 0.275], [0.18, 0.28]]
    assert charts["curves"]["layout"]["title"]["text"] == "4 of 12 curves"
    assert sum(trace["x"].count(None) for trace in charts["curves"]["data"]) == 4
    assert len(charts["cost"]["data"][0]["x"]) == 3
