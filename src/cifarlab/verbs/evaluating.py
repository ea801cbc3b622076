"""What ``evaluate.py`` does: a run, several, shifts. Prints what there is to say and the path of what it wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import torch
from rich.progress import track

from cifarlab.evaluation.ensembles import Member, best_settings, by_setting, describe, growth
from cifarlab.evaluation.export import export as package
from cifarlab.evaluation.pictures import classify as ask
from cifarlab.evaluation.pictures import files_in
from cifarlab.evaluation.record import Record, evaluated
from cifarlab.evaluation.runs import finished_runs, settings_in_words
from cifarlab.evaluation.shift import Corrupted, on_cifar101, on_corruptions
from cifarlab.figures.captions import caption, in_words
from cifarlab.figures.corruptions import corruptions as heatmap
from cifarlab.figures.ensembles import ensembles as lines
from cifarlab.figures.formats import rendered
from cifarlab.figures.pictures import contact_sheet
from cifarlab.job.directory import chosen_weights, stored_result
from cifarlab.job.trained import Trained
from cifarlab.reading import leads_out, link_out
from cifarlab.result import Status, write_bytes, write_json
from cifarlab.summary.write import csv_text
from cifarlab.sweeps.names import safe
from cifarlab.training.divergence import Diverged
from cifarlab.verbs.evaluation_options import Options
from cifarlab.verbs.reporting import say, table

SHOWN = ("nll", "brier", "ece", "ece_width")
FOLDER = "evaluation"  # of a sweep
MOST_LISTED, MOST_SHOWN = 40, 80  # pictures in the terminal's table and on the contact sheet


def one(options: Options) -> None:
    """Test a run again; print its report, its calibration and what was asked for."""
    (directory,) = options.runs
    result = stored_result(directory)
    if result is None or result.status != Status.FINISHED:
        how = "has not ended" if result is None else f"ended as {result.status}"
        say(f"{directory}: the run {how}; these are the best weights that it has left")
    record = _asked(directory, options)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # the first process speaks for all devices
    print(record.test.report())
    table("Calibration", _calibration_rows(record))
    if record.temperature is not None:
        print(f"scaled: by the temperature {record.temperature:.4f}, fitted on validation")
    if options.per_class:
        table("By class, on test", record.details["per_class"])
    if record.shift:
        table(f"shift={options.shift}", [{"measure": name, "value": value} for name, value in record.shift.items()])
    print(record.write(directory))  # last: what a colleague's directory does not take has been printed


def _asked(directory: Path, options: Options) -> Record:
    """Ask the net all that was asked for."""
    trained = Trained(directory, allow=options.allow, root=options.root)
    record = evaluated(trained, per_class=options.per_class)
    if options.shift == "cifar10.1":
        record.shift = on_cifar101(trained)
    elif options.shift == "corruptions":
        found = on_corruptions(
            trained,
            clean=record.test.metrics["test/acc"],
            temperature=record.temperature,
            seed=options.seed,
            watch=_watched,
        )
        record.shift = found.metrics()
        record.details["corruptions"] = _put_away(found, directory, options.seed, str(trained.data.name))
    return record


def _watched(names: list[str]) -> Iterable[str]:
    return track(names, "corrupting", transient=True)


def _put_away(found: Corrupted, directory: Path, seed: int, data: str) -> dict[str, object]:
    """The table and the figure of corruptions; what `evaluation.json` says of them."""
    rows = [row._asdict() for row in found.rows]
    whose = "+".join(sorted(set(found.sources)))
    write_bytes(directory / "corruptions.csv", csv_text(pd.DataFrame(rows)))
    note = f"{data}, corruptions ({whose}): mean error {found.mean_error:.4f}"
    names = [row.corruption for row in found.rows[::5]]
    (directory / "figures").mkdir(exist_ok=True)
    drawn = heatmap(found.accuracy, names, clean=found.clean, note=note)
    caption(drawn, in_words(directory, data=data, split="test, corrupted", selected=chosen_weights(directory)))
    write_bytes(directory / "figures" / "corruptions.png", rendered(drawn))
    shown = [
        {"corruption": name, "pictures": source}
        | {f"strength {place + 1}": float(value) for place, value in enumerate(row)}
        | {"mean": float(row.mean())}
        for name, source, row in zip(names, found.sources, found.accuracy, strict=True)
    ]
    table("Accuracy on corruptions", shown)
    return {"source": whose, "seed": seed, "table": "corruptions.csv", "figure": "figures/corruptions.png"}


def _calibration_rows(record: Record) -> list[dict[str, object]]:
    found = record.calibration
    return [
        {"split": f"{split}{' scaled' if ending else ''}"} | {name: found[f"{split}/{name}{ending}"] for name in SHOWN}
        for split in ("val", "test")
        for ending in ("", "_scaled")
        if f"{split}/nll{ending}" in found
    ]


def several(options: Options) -> bool:
    """Test every finished run again, then those of each setting together.

    Returns:
        Whether every finished run could be asked.
    """
    runs, left_out = finished_runs(options.runs)
    for line in left_out:
        say(line)
    members, rows, failed = [], [], 0
    for run, setting in zip(runs, settings_in_words(runs), strict=True):
        try:
            record = _asked(run.directory, options)
            record.write(run.directory)
        except (ValueError, Diverged, OSError) as error:
            say(f"{run.directory}: left out: {str(error).splitlines()[0]}")
            failed += 1
            continue
        members.append(Member(run.directory.name, setting, record.val, (record.test.logits, record.test.labels)))
        metrics = {"val/acc": members[-1].accuracy("val"), **record.calibration, **record.shift}
        rows.append({"run": run.directory.name} | {name: metrics[name] for name in RUN_COLUMNS if name in metrics})
    if not rows:
        raise ValueError("no run is left to be tested")
    table("Runs", rows)
    folder = (options.runs[0] if len(options.runs) == 1 else Path(os.path.commonpath(options.runs))) / FOLDER
    _join(members, folder)
    return failed == 0


RUN_COLUMNS = ("val/acc", "val/nll", "val/ece", "temperature", "val/nll_scaled", "val/ece_scaled", "test/mce")
ENSEMBLE_COLUMNS = (
    "setting",
    "members",
    "val/acc",
    "test/acc_member",
    "test/acc",
    "test/gain",
    "test/nll",
    "test/ece_member",
    "test/ece",
    "test/ece_scaled",
    "test/disagreement",
)


def _join(members: list[Member], folder: Path) -> None:
    """Ensembles of each setting and of the best ones: table, file, figure."""
    first = members[0].test[1]
    if not all(torch.equal(member.test[1], first) for member in members):
        say("ensembles: the runs have different test splits, which nobody can average over")
        return
    settings = by_setting(members)
    several_runs = {name: own for name, own in settings.items() if len(own) > 1}
    single = len(settings) - len(several_runs)
    if single:
        say(f"ensembles: {single} of {len(settings)} settings have one finished run alone; an ensemble takes two")
    rows = [describe(own) for own in several_runs.values()]
    best = best_settings(settings)
    if best is not None:
        count = len({member.setting for member in best})
        rows.append({**describe(best), "setting": f"the best {count} settings"})
    if not rows:
        return
    table("Ensembles", [{name: row.get(name, float("nan")) for name in ENSEMBLE_COLUMNS} for row in rows])
    if leads_out(folder, folder.parent):
        raise link_out(folder, folder.parent)
    folder.mkdir(exist_ok=True)
    write_bytes(folder / "ensembles.csv", csv_text(pd.DataFrame(rows)))
    grown = [growth(name, own) for name, own in several_runs.items()]
    grown += [growth(str(rows[-1]["setting"]), best)] if best is not None else []
    curves = [{"setting": each.setting, "mean": each.mean.tolist(), "sd": each.sd.tolist()} for each in grown]
    write_json(folder / "ensembles.json", {"ensembles": rows, "test/acc_by_members": curves})
    drawn = lines([(each.setting, each.mean, each.sd) for each in grown])
    caption(drawn, f"runs of {'/'.join(folder.resolve().parts[-3:-1])}; the test split, weights as each run chose them")
    write_bytes(folder / "ensembles.png", rendered(drawn))
    print(folder / "ensembles.csv")


def classify(options: Options) -> None:
    """Classify pictures: table, CSV and contact sheet."""
    (directory,) = options.runs
    assert options.images is not None
    files = files_in(options.images)
    found = ask(Trained(directory, allow=options.allow, root=options.root), files)
    for path, why in found.skipped:
        say(f"{path}: skipped: {why}")
    top = options.images if options.images.is_dir() else options.images.parent
    names = [str(path.relative_to(top)) for path in found.paths]
    guesses = [found.best(place) for place in range(len(names))]
    rows = [
        {"file": name} | {f"guess {rank + 1}": f"{kind} {share:.4f}" for rank, (kind, share) in enumerate(own)}
        for name, own in zip(names, guesses, strict=True)
    ]
    table(f"{len(names)} pictures", rows[:MOST_LISTED])
    if len(rows) > MOST_LISTED:
        print(f"and {len(rows) - MOST_LISTED} more, in the CSV")
    folder = directory / "predictions"
    folder.mkdir(exist_ok=True)
    stem = safe(options.images.resolve().name)
    shares = pd.DataFrame(found.probabilities, columns=pd.Index(found.classes))
    said = pd.DataFrame({"file": names, "class": [own[0][0] for own in guesses]})
    write_bytes(folder / f"{stem}.csv", csv_text(pd.concat([said, shares], axis=1)))
    words = [f"{Path(name).name}\n{own[0][0]} {own[0][1]:.2f}" for name, own in zip(names, guesses, strict=True)]
    note = f"{len(names)} pictures, the largest square in the middle of each at {found.pictures.shape[1]} pixels"
    sheet = contact_sheet(found.pictures[:MOST_SHOWN], words[:MOST_SHOWN], note=note)
    caption(sheet, in_words(directory, selected=chosen_weights(directory)))
    write_bytes(folder / f"{stem}.png", rendered(sheet))
    print(folder / f"{stem}.png")
    print(folder / f"{stem}.csv")


def export(options: Options) -> None:
    """Write the net for other programs, and say how far its answers are from the run's own."""
    (directory,) = options.runs
    assert options.export != "none"
    trained = Trained(directory, allow=options.allow, root=options.root)
    path, difference = package(trained, options.export, input=options.input)
    print(f"read back: its logits of test pictures differ by at most {difference:.2g} from the net's own")
    print(path)
