"""Keys that last: what a run's key is made of, held against a list of defaults that is written down.

`PYTHONPATH=. python tests/job/test_keys.py` adds what is new to the list; it refuses to change what stands there.
"""

from __future__ import annotations

import inspect
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import yaml
from annotated_types import Ge

from cifarlab.data.augment import Augment
from cifarlab.job.configure import config_key, config_parameters, describe_call, locate
from cifarlab.job.job import AMBIGUOUS, NOT_IN_KEY, Job
from cifarlab.job.nodes import CALLS, ROOMS, SHORT_NAMES
from cifarlab.job.settings import Settings
from cifarlab.training.recipe import Finetune

MakeJob = Callable[..., Job]
CONF = Path(__file__).resolve().parents[2] / "conf"
FROZEN = Path(__file__).with_name("defaults.json")


def targets(make: MakeJob) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Group and class of everything whose arguments decide a run's numbers."""
    for group in ROOMS:
        for path in sorted((CONF / group).glob("*.yaml")):
            yield group, make(f"{group}={path.stem}").parts[group].target
    yield "settings", Settings
    yield "settings", Finetune
    yield from ((name, CALLS[name]) for name in ("augment", "trainer"))
    for parameter in config_parameters(Augment).values():
        yield from (("augment", kind) for kind in get_args(parameter.annotation) if is_ours(kind))


def is_ours(kind: Any) -> bool:
    return inspect.isclass(kind) and kind.__module__.startswith("cifarlab.")


def defaults_of(group: str, target: Callable[..., Any]) -> dict[str, Any]:
    """Version and defaults of one class, without what is no part of a key."""
    hidden = NOT_IN_KEY.get(group, ())
    defaults = {
        config_key(name): parameter.default
        for name, parameter in config_parameters(target).items()
        if config_key(name) not in hidden and parameter.default is not inspect.Parameter.empty
    }
    return {"version": getattr(target, "version", 1), "defaults": json.loads(json.dumps(defaults))}


def all_defaults(make: MakeJob) -> dict[str, Any]:
    return {target.__qualname__: defaults_of(group, target) for group, target in targets(make)}


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The defaults that differ from the written ones although the version does not."""
    return [
        f"{name}.{key}: {value} became {now[name]['defaults'].get(key, 'nothing')}"
        for name, written in before.items()
        if name in now and now[name]["version"] == written["version"]
        for key, value in written["defaults"].items()
        if now[name]["defaults"].get(key, "nothing") != value
    ]


def test_a_default_changes_only_with_the_version_of_its_class(compose_job: MakeJob) -> None:
    """Else runs of different meaning share a key. Raise ``version`` of the class, then write the list anew."""
    frozen, now = json.loads(FROZEN.read_text()), all_defaults(compose_job)
    assert changed(frozen, now) == []
    assert now == frozen, "new: write it down with PYTHONPATH=. python tests/job/test_keys.py"


def test_the_list_would_notice() -> None:
    before = {"Net": {"version": 1, "defaults": {"width": 8}}}
    assert changed(before, {"Net": {"version": 1, "defaults": {"width": 16}}}) == ["Net.width: 8 became 16"]
    assert changed(before, {"Net": {"version": 1, "defaults": {}}}) == ["Net.width: 8 became nothing"]
    assert changed(before, {"Net": {"version": 2, "defaults": {"width": 16}}}) == []
    assert changed(before, {"Net": {"version": 1, "defaults": {"width": 8, "new": 0}}}) == []


class Net:
    def __init__(self, *, width: Annotated[int, Ge(1)] = 8) -> None: ...


def make_net(**more: Any) -> type:
    """The class ``Net`` with other knobs, or attributes."""
    knobs = {name: value for name, value in more.items() if name != "version"}
    parameters = "".join(f", {name}: {type(value).__name__} = {value!r}" for name, value in knobs.items())
    namespace: dict[str, Any] = {"__name__": Net.__module__}
    exec(f"class Net:\n    def __init__(self, *, width: int = 8{parameters}): ...", namespace)
    for name in set(more) - set(knobs):
        setattr(namespace["Net"], name, more[name])
    return namespace["Net"]


def test_a_new_knob_at_its_default_changes_no_key() -> None:
    before = describe_call(Net, {"width": 4}, key="model").deviations()
    assert describe_call(make_net(new_knob=False), {"width": 4}, key="model").deviations() == before
    assert describe_call(make_net(new_knob=False), {"width": 4, "new_knob": True}, key="model").deviations() != before


def test_a_higher_version_changes_the_key() -> None:
    before = describe_call(Net, {}, key="model").deviations()
    assert describe_call(make_net(version=1), {}, key="model").deviations() == before
    assert describe_call(make_net(version=2), {}, key="model").deviations() == {**before, "version": 2}


def test_a_default_written_out_is_no_deviation(compose_job: MakeJob) -> None:
    for group, target in targets(compose_job):
        if group in ("settings", "trainer"):
            written_out = defaults_of(group, target)["defaults"]
            named = describe_call(target, written_out, key=group).deviations().keys()
            assert named - {"version"} == {"_target_"}, target


@pytest.mark.parametrize("group", [*ROOMS, *CALLS])
def test_yaml_repeats_no_default(group: str) -> None:
    """A default stands once, in its signature."""
    for path in sorted((CONF / group).glob("*.yaml")):
        node = yaml.safe_load(path.read_text()) or {}
        target = (
            locate(str(node["_target_"]), key=group, room=ROOMS[group], allow=()) if group in ROOMS else CALLS[group]
        )
        pairs = [(target, node)]
        pairs += [(kind, node[name]) for name, kind in nested(target).items() if isinstance(node.get(name), dict)]
        for owner, values in pairs:
            defaults = {config_key(name): parameter.default for name, parameter in config_parameters(owner).items()}
            same = [
                key for key, value in values.items() if json.dumps(defaults.get(key), default=str) == json.dumps(value)
            ]
            assert same == [], f"{path.name}: {same}"


def nested(target: Callable[..., Any]) -> dict[str, Any]:
    """Key -> the class of ours that an argument wants."""
    return {
        config_key(name): kind
        for name, parameter in config_parameters(target).items()
        for kind in get_args(parameter.annotation)
        if is_ours(kind)
    }


def test_a_class_of_ours_goes_by_its_name_and_one_of_the_users_by_its_path() -> None:
    assert describe_call(Settings, {}, key="").deviations() == {"_target_": "Settings"}
    mine = describe_call(Net, {}, key="model").deviations()["_target_"]
    assert mine == f"{Net.__module__}.Net"


@pytest.mark.parametrize(
    ("override", "in_key", "in_group"),
    [
        ("ema=0.99", True, True),
        ("data.normalize=half", True, True),
        ("data.eval_crop=4", True, True),
        ("data.drop_last=true", True, True),
        ("data.split_seed=1", True, False),
        ("trainer.deterministic=true", True, True),
        ("tta=mirror", True, True),
        ("trainer.compile=true", False, False),
        ("trainer.num_nodes=2", False, False),
        ("trainer.channels_last=false", False, False),
        ("search.seed=7", False, False),
        ("zip=[]", False, False),
        ("confirm=5", False, False),
        ("folds=3", False, False),
        ("data.fold=1/3", True, True),
    ],
)
def test_what_belongs_to_a_key(compose_job: MakeJob, override: str, in_key: bool, in_group: bool) -> None:
    plain, other = compose_job().identity, compose_job(override).identity
    assert (plain.key != other.key, plain.group != other.group) == (in_key, in_group)


def test_folds_of_one_number_are_one_group(compose_job: MakeJob) -> None:
    """They repeat a setting, as seeds do; of another number of folds more or less is trained on."""
    first, second, other = (compose_job(f"data.fold={fold}").identity for fold in ("1/3", "2/3", "1/5"))
    assert len({first.key, second.key, other.key}) == 3
    assert first.group == second.group != other.group
    assert (first.knobs["fold"], first.knobs["folds"]) == ("1/3", 3)
    assert "folds" not in compose_job().identity.knobs


def test_a_knob_has_one_meaning_whatever_else_is_chosen(compose_job: MakeJob) -> None:
    """Two groups never share the bare name of a knob; case 22."""
    owners: dict[str, set[str]] = {}
    for group, target in targets(compose_job):
        if group not in ("augment",) and target is not Finetune:
            for name in map(config_key, config_parameters(target)):
                owners.setdefault(name, set()).add(group)
    shared = {name for name, groups in owners.items() if len(groups) > 1}
    assert shared == AMBIGUOUS
    first = compose_job("optimizer=timm", "model=resnet").identity.knobs
    second = compose_job("optimizer=timm", "model=timm").identity.knobs
    assert (first["optimizer.name"], second["optimizer.name"], second["model.name"]) == ("lamb", "lamb", "resnet18")
    assert "name" not in first | second


def test_short_names_belong_to_one_group() -> None:
    counts = Counter(name for names in SHORT_NAMES.values() for name in names)
    assert set(counts.values()) == {1}


def test_a_job_can_be_pickled(compose_job: MakeJob) -> None:
    job = compose_job("model=resnet18", "penalty=elastic_net", "augment=[crop,cutout]", "seed=3")
    again = pickle.loads(pickle.dumps(job))
    assert again.identity == job.identity
    assert again.config == job.config
    assert again.parts == job.parts


def test_what_is_no_part_of_the_key_can_be_changed_and_nothing_else(compose_job: MakeJob) -> None:
    job = compose_job("trainer.progress_bar=true")
    other = job.changed(checkpoints="none", trainer__progress_bar=False)
    assert other.identity.key == job.identity.key
    assert (other.settings.checkpoints, other.config["checkpoints"]) == ("none", "none")
    assert (other.parts["trainer"].arguments["progress_bar"], other.config["trainer"]["progress_bar"]) == (False, False)
    assert job.settings.checkpoints == "auto"
    with pytest.raises(AssertionError, match="another run"):
        job.changed(epochs=3)


if __name__ == "__main__":
    from tests.conftest import composed_job

    now = all_defaults(composed_job)
    written = json.loads(FROZEN.read_text()) if FROZEN.is_file() else {}
    faults = changed(written, now)
    if faults:
        raise SystemExit("raise the version of these classes first:\n" + "\n".join(faults))
    FROZEN.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n")
