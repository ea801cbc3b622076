"""One run as configuration: who it is, what it is called, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from cifarlab.data.seeds import Seeds
from cifarlab.job.configure import ConfigError, describe
from cifarlab.job.directory import reopen, write_job
from cifarlab.job.job import ROOMS, Job
from cifarlab.job.once import Once

MakeJob = Callable[..., Job]
CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(scope="module")
def plain_job(compose_job: MakeJob) -> Job:
    """The project's defaults."""
    return compose_job()


def faults(make: MakeJob, *overrides: str) -> tuple[str, ...]:
    """What is wrong with a config."""
    with pytest.raises(ConfigError) as caught:
        make(*overrides)
    return caught.value.faults


@pytest.mark.parametrize(
    "overrides",
    [
        ("data.root=/elsewhere",),
        ("logger=none",),
        ("logger=[csv,tensorboard]",),
        ("figures=[]",),
        ("checkpoints=none",),
        ("++trainer.devices=2",),
        ("++trainer.accelerator=cpu",),
        ("++trainer.progress_bar=false",),
        ("++trainer.strategy=ddp",),
        ("sweep=other", "plan=true", "fresh=true", "skip_invalid=true"),
        ("allow=[mine]",),
        ("hydra.run.dir=elsewhere",),
        ("kernel_size=3",),
        ("blocks=3", "lr=0.1"),
        ("++model.kernel_size=3",),
        ("++model.downsample=stride",),
        ("++trainer.accumulate_batches=1",),
        ("dropout=0",),
        ("seed_init=0", "seed_order=0", "seed_augment=0"),
        ("++augment.cutout=null",),
        ("augment=[flip,crop]",),
        ("precision=auto",),
        ("recipe=report",),
    ],
)
def test_what_cannot_change_the_numbers_leaves_the_key(
    compose_job: MakeJob, plain_job: Job, overrides: tuple[str, ...]
) -> None:
    job = compose_job(*overrides)
    assert (job.identity.key, job.identity.group) == (plain_job.identity.key, plain_job.identity.group)


@pytest.mark.parametrize(
    "override",
    [
        "kernel_size=5",
        "++model.downsample=pool",
        "model=tiny_vgg",
        "epochs=31",
        "batch_size=64",
        "lr=0.2",
        "limit=512",
        "precision=32",
        "label_smoothing=0.1",
        "early_stopping=3",
        "optimizer=adam",
        "schedule=cosine",
        "penalty=elastic_net",
        "augment=none",
        "++augment.crop.padding=2",
        "data=digits",
        "++data.val_fraction=0.3",
        "++data.fold=1/5",
        "++trainer.gradient_clip_norm=1.0",
        "++trainer.accumulate_batches=2",
    ],
)
def test_what_changes_the_numbers_changes_key_and_group(compose_job: MakeJob, plain_job: Job, override: str) -> None:
    identity = compose_job(override).identity
    assert identity.key != plain_job.identity.key
    assert identity.group != plain_job.identity.group


def test_seeds_change_the_key_and_not_the_group(compose_job: MakeJob, plain_job: Job) -> None:
    given = ["seed=1", "seed_init=1", "seed_order=1", "seed_augment=1"]
    others = [compose_job(override).identity for override in given]
    assert len({identity.key for identity in (*others, plain_job.identity)}) == 5
    assert {identity.group for identity in others} == {plain_job.identity.group}


def test_the_seed_governs_every_part_that_has_none_of_its_own(compose_job: MakeJob) -> None:
    assert compose_job("seed=5").seeds == Seeds(5, 5, 5)
    assert compose_job("seed=5", "seed_order=0").seeds == Seeds(5, 0, 5)
    assert compose_job("seed=5").identity.seed == 5


def test_a_short_name_and_its_argument_are_the_same_setting(compose_job: MakeJob) -> None:
    short, long = compose_job("kernel_size=5"), compose_job("model.kernel_size=5")
    assert short.identity.key == long.identity.key
    assert short.identity.knobs == long.identity.knobs
    assert short.identity.knobs["kernel_size"] == 5


def test_knobs_are_flat_and_read_from_what_is_built(compose_job: MakeJob) -> None:
    job = compose_job("penalty=elastic_net", "lambda=0.5", "seed=3", "++augment.crop.padding=2", "limit=7")
    knobs = job.identity.knobs
    wanted = {
        "model": "resnet", "optimizer": "sgd", "penalty": "elastic_net", "augment": "crop+flip", "data": "cifar10",
        "kernel_size": 3, "downsample": "stride", "alpha": 0.5, "lambda": 0.5, "lr": 0.1, "epochs": 30,
        "batch_size": 128, "limit": 7, "precision": "auto", "augment.crop.padding": 2,
    }  # fmt: skip
    assert {name: knobs.get(name) for name in wanted} == wanted
    assert not {"seed", "root", "figures", "devices", "plan"} & set(knobs)
    json.dumps(knobs)


@pytest.mark.parametrize(
    ("option", "knob"),
    [("none", "none"), ("crop", "crop"), ("[cutout,crop]", "crop+cutout"), ("flip_any", "flip_any")],
)
def test_the_augmentation_has_one_knob_for_its_name(compose_job: MakeJob, option: str, knob: str) -> None:
    assert compose_job(f"augment={option}").identity.knobs["augment"] == knob


def test_a_nested_target_of_another_kind_is_refused(compose_job: MakeJob) -> None:
    assert faults(compose_job, "++augment.crop._target_=cifarlab.training.run.run")
    (fault,) = faults(compose_job, "++data.source._target_=cifarlab.data.digits.load_digits")
    assert fault.startswith("data.source._target_=cifarlab.data.digits.load_digits: cannot be imported")
    (fault,) = faults(compose_job, "++data.source._target_=cifarlab.data.module.ImageData")
    assert fault == "data.source._target_=cifarlab.data.module.ImageData: a kind of Source is needed"


def options() -> Iterator[tuple[str, str]]:
    """Every option of every group that names a class."""
    for group in ROOMS:
        yield from ((group, path.stem) for path in sorted((CONF / group).glob("*.yaml")))


@pytest.mark.parametrize(("group", "option"), list(options()), ids="=".join)
def test_a_default_written_out_is_a_default_left_out(compose_job: MakeJob, group: str, option: str) -> None:
    """Else a later start of a sweep that names a default would train its cells again."""
    part = compose_job(f"{group}={option}").parts[group]
    plain = json.loads(json.dumps(part.plain()))
    assert describe(plain, key=group, room=ROOMS[group]).plain() == part.plain()
    assert json.dumps(describe(plain, key=group, room=ROOMS[group]).plain()) == json.dumps(part.plain())


def test_a_short_name_that_the_model_lacks_is_refused(compose_job: MakeJob) -> None:
    (fault,) = faults(compose_job, "model=tiny_vgg", "++kernel_size=5")
    assert fault.startswith("kernel_size=5: tiny_vgg has no kernel_size.")
    assert "blocks" in fault
    (fault,) = faults(compose_job, "model=vgg19", "++dropout=0.5")
    assert fault.startswith("dropout=0.5: vgg19 has no dropout.")
    (fault,) = faults(compose_job, "++lambda=1")
    assert "has no lambda" in fault


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("+kernal_size=5", "kernal_size=5: resnet has no kernal_size. Did you mean kernel_size?"),
        ("+model.kernal_size=5", "model.kernal_size=5: there is no key kernal_size. Did you mean model.kernel_size?"),
        ("+anything={a: 1}", "anything={'a': 1}: resnet has no anything."),
        ("++root=/data", "root=/data: nothing reads it; set data.root alone"),
        ("++source=3", "source=3: nothing reads it; set data.source alone"),
        ("++padding=3", "padding=3: resnet has no padding."),
        ("kernel_size=-1", "model.kernel_size=-1: allowed: an integer from 1 to 11"),
        ("precision=bf17", "trainer.precision=bf17: allowed: one of auto, 32"),
        ("++data.source=null", "data.source=null: a mapping of Source's keys is needed"),
        ("++data.source=3", "data.source=3: a mapping of Source's keys is needed"),
        ("++data.source._target_=cifarlab.data.sources.Source", "data.source._target_=cifarlab.data.sources.Source: "),
        ("++model._target_=os.system", "model._target_=os.system: only classes of cifarlab.models"),
        ("allow=mine", "allow=mine: allowed: a list, each text"),
    ],
)
def test_each_refusal_names_key_and_value(compose_job: MakeJob, override: str, fault: str) -> None:
    (said,) = faults(compose_job, override)
    assert said.startswith(fault)


def test_an_argument_set_directly_overrules_its_short_name_but_not_in_silence(compose_job: MakeJob) -> None:
    (fault,) = faults(compose_job, "model.kernel_size=5", "kernel_size=7")
    assert fault == "kernel_size=7: nothing reads it; set model.kernel_size alone"
    assert compose_job("trainer.precision=bf16-mixed").identity.knobs["precision"] == "bf16-mixed"
    assert compose_job("data.limit=5", "optimizer.lr=3").identity.knobs["limit"] == 5


def test_the_faults_of_all_groups_are_told_at_once(compose_job: MakeJob) -> None:
    said = faults(
        compose_job, "kernel_size=0", "lr=-1", "++schedule.qqq=1", "epochs=0", "++data.val_fraction=1", "+nobody=1"
    )
    assert sorted(line.partition("=")[0] for line in said) == [
        "data.val_fraction", "epochs", "model.kernel_size", "nobody", "optimizer.lr", "schedule.qqq"
    ]  # fmt: skip


@pytest.mark.parametrize("group", ["data", "schedule", "penalty", "trainer"])
def test_a_group_cannot_be_taken_away(compose_job: MakeJob, group: str) -> None:
    said = faults(compose_job, f"~{group}")
    assert any(line.startswith(f"{group}: cannot be taken away") for line in said)


def test_values_that_do_not_go_together_are_refused_without_training(compose_job: MakeJob) -> None:
    """Relations of optimizer, schedule and penalty with the net and the epochs need them built, on the meta device."""
    for overrides, message in (
        (("++optimizer.nesterov=true", "++optimizer.momentum=0"), "nesterov=true needs momentum"),
        (("schedule=cosine", "++schedule.warmup_epochs=40"), "warmup_epochs=40 does not end before epochs=30"),
        (("penalty=elastic_net", "++penalty.layers=[nothing]"), "layers=nothing fits no layer"),
        (("penalty=sparse_gates",), "gate"),
    ):
        with pytest.raises(ValueError, match=message):
            compose_job(*overrides).preflight(10, (32, 32))


def test_preflight_counts_the_net(compose_job: MakeJob) -> None:
    assert compose_job().preflight(10, (32, 32)).parameters == 1_227_594


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "schedule").glob("*.yaml")))
@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_preflight_refuses_no_default(compose_job: MakeJob, option: str, epochs: int) -> None:
    """A look ahead that is stricter than the run would keep good cells from running."""
    job = compose_job(f"schedule={option}", f"epochs={epochs}", "blocks=1", "width=2")
    assert job.preflight(10, (32, 32)).parameters > 0


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_preflight_builds_every_optimizer_on_the_meta_device(compose_job: MakeJob, option: str) -> None:
    assert compose_job(f"optimizer={option}", "blocks=1", "width=2").preflight(10, (32, 32)).flops > 0


def test_an_option_that_replaces_an_experiments_leaves_its_values_behind(compose_job: MakeJob) -> None:
    """`schedule.patience` is the experiment's word to plateau: it goes with it, whoever chooses another schedule."""
    assert compose_job("experiment=cinic_residual").parts["schedule"].arguments["patience"] == 3
    by_hand = compose_job("experiment=cinic_residual", "schedule=cosine")
    assert by_hand.parts["schedule"].arguments == compose_job("schedule=cosine").parts["schedule"].arguments
    strong = compose_job("experiment=cinic_residual", "recipe=strong")
    assert "patience" not in strong.parts["schedule"].arguments
    assert strong.knobs["optimizer"] == "muon"
    assert strong.parts["model"].arguments == compose_job("experiment=cinic_residual").parts["model"].arguments


def test_what_was_typed_is_never_left_behind(compose_job: MakeJob) -> None:
    found = faults(compose_job, "experiment=cinic_residual", "schedule=cosine", "++schedule.patience=5")
    assert found[0].startswith("schedule.patience=5: there is no key patience")
    found = faults(compose_job, "experiment=cinic_residual", "schedule=cosine", "++schedule.warmup=5")
    assert "Did you mean schedule.warmup_epochs?" in found[0]
    assert faults(compose_job, "schedule=cosine", "++schedule.patience=5")


def test_an_experiments_short_name_goes_with_the_option_that_took_it(compose_job: MakeJob) -> None:
    """``lambda`` is the experiment's word to a penalty that was replaced; typed, it would be refused."""
    config = OmegaConf.create({**compose_job("penalty=none").config, "lambda": 0.5})
    given = {"experiment": "mine", "model": "resnet"}
    job = Job.read(config, choices=given, overrides=["experiment=mine", "penalty=none"])
    assert job.identity.group == compose_job("penalty=none").identity.group
    with pytest.raises(ConfigError, match="has no lambda"):
        Job.read(config, choices=given, overrides=["experiment=mine", "penalty=none", "lambda=0.5"])
    with pytest.raises(ConfigError, match="has no lambda"):
        Job.read(config, choices=given, overrides=["experiment=mine"])


def test_reading_a_config_imports_nothing_that_it_names_outside_the_package(
    compose_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run directory may come from a stranger; short names look at signatures, but only at ours."""
    (tmp_path / "stranger.py").write_text("from pathlib import Path\nPath('was-here').touch()\n\n\ndef net(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.create({**compose_job().config, "model": {"_target_": "stranger.net"}, "width": 8})
    with pytest.raises(ConfigError, match=r"model\._target_=stranger\.net: only classes of cifarlab\.models"):
        Job.read(config)
    assert not (tmp_path / "was-here").exists()


def test_pictures_of_ones_own_are_known_by_what_they_are(compose_job: MakeJob, tmp_path: Path) -> None:
    """Not by their path: the same elsewhere are the same run, others in their place are another."""
    for place in ("here", "there"):
        for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
            (tmp_path / place / name).mkdir(parents=True)
            for shade in range(20):
                colours = tuple(value // (shade + 1) for value in colour)
                Image.new("RGB", (32, 32), colours).save(tmp_path / place / name / f"{shade}.png")
    first, second = (
        compose_job("data=folder", f"data.root={tmp_path / place}").pinned() for place in ("here", "there")
    )
    assert first.identity.key == second.identity.key
    assert first.identity.knobs["source.content"] == first.config["data"]["source"]["content"]
    larger = compose_job("data=folder", f"data.root={tmp_path / 'here'}", "data.image_size=64")
    assert larger.pinned().identity.key != first.identity.key
    known = Once()
    assert [each.pinned(known).identity.key for each in (larger, larger)] == [larger.pinned().identity.key] * 2
    small = compose_job("data=folder", f"data.root={tmp_path / 'here'}").pinned(known)
    assert small.identity.key == first.identity.key
    write_job(first, tmp_path / "run")
    (tmp_path / "here" / "red" / "0.png").unlink()
    third = compose_job("data=folder", f"data.root={tmp_path / 'here'}").pinned()
    assert third.identity.group != first.identity.group
    with pytest.raises(ValueError, match="these are other pictures"):
        reopen(tmp_path / "run").make_data().setup()
    assert reopen(tmp_path / "run", root=str(tmp_path / "there")).make_data().sizes["train"] == 29
    plain = compose_job("data=digits")
    assert plain.pinned() is plain
