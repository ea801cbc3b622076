"""`python visualize.py`: every figure of a run and of what the command line chooses, and every refusal."""

import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

from cifarlab.figures import OfVisualize
from cifarlab.job.directory import reopen
from cifarlab.job.trained import trained_net
from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.verbs import command_line, drawing
from cifarlab.verbs.figure_options import READS, Options
from cifarlab.verbs.subject import Chosen, OfRun
from cifarlab.verbs.visualize import draw_curves, file_name

ROOT = Path(__file__).resolve().parents[2]
EXPLAINING = ("gradcam", "attribution", "embedding")
FIGURES = (
    *("samples", "augmentations", "curves", "filters", "features", "confusion", "mistakes", "ascent"),
    *EXPLAINING,
)


@pytest.fixture(scope="session")
def run(tmp_path_factory, tiny):
    """A tiny trained run, in a directory whose name Hydra's grammar would stumble over."""
    directory = tmp_path_factory.mktemp("runs") / "my run=1, 'two' [x]"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=[*tiny, "++figures=[]", "augment=[flip,cutout]"])
    (directory / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, directory / ".hydra" / "config.yaml")
    assert reopen(directory).execute(directory).status == "finished"
    return directory


@pytest.fixture(scope="session")
def opened(run):
    return OfRun(reopen(run), run)


@pytest.fixture
def visualize(tmp_path, monkeypatch, capfd):
    """``python visualize.py ARGUMENTS`` in this process and an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "CONF", ROOT / "conf")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(ROOT / "visualize.py"), *arguments])
        GlobalHydra.instance().clear()
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / "visualize.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return (code, *capfd.readouterr())

    return call


@pytest.mark.parametrize("figure", FIGURES)
def test_draws_every_figure_of_a_run_into_its_directory(visualize, run, tmp_path, figure):
    options = ["steps=3"] if figure == "ascent" else []
    code, out, err = visualize(f"run={run}", f"figure={figure}", *options)
    assert code == 0, err
    path = Path(out.rstrip().splitlines()[-1])
    assert path.parent == run / "figures"
    assert path.name.startswith(figure)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 5
    assert list(tmp_path.iterdir()) == []  # neither outputs/ nor .hydra/ nor a log


@pytest.mark.parametrize(
    "figure", ["samples", "augmentations", "filters", "features", "confusion", "mistakes", "ascent", *EXPLAINING]
)
def test_draws_of_what_the_command_line_chooses(visualize, tmp_path, figure):
    options = ["steps=2"] if figure == "ascent" else []
    code, out, err = visualize("data=digits", "limit=50", "model=tiny_vgg", "width=4", f"figure={figure}", *options)
    assert code == 0, err
    path = Path(out.rstrip().splitlines()[-1])
    assert path.parent == Path("figures")
    assert figure in path.name
    assert path.is_file()
    assert [item.name for item in tmp_path.iterdir()] == ["figures"]
    assert ("the net is untrained" in out) == (figure not in ("samples", "augmentations"))


def test_samples_counts_are_those_of_the_labels(visualize, run, opened):
    code, out, _ = visualize(f"run={run}", "figure=samples", "per_class=2")
    assert code == 0
    table = {line.split()[0]: [int(count) for count in line.split()[1:]] for line in out.splitlines()[2:12]}
    for column, split in enumerate(("train", "val", "test")):
        counted = np.bincount(opened.data.split(split).labels.numpy(), minlength=10)
        assert [row[column] for row in table.values()] == counted.tolist()
    assert out.splitlines()[0] == "digits: 10 classes, 32x32 pixels; train 100, val 100, test 100"
    assert (run / "figures" / "samples+per_class-2.png").is_file()


def test_filters_are_the_trained_weights_scaled_by_hand(run, opened):
    figure = drawing.filters(opened, Options(figure="filters", most=5))
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["stem.0.weight"].numpy()
    shown = [np.asarray(axis.get_images()[0].get_array()) for axis in figure.axes]
    assert len(shown) == len(weights) == 4
    for picture, kernel in zip(shown, weights, strict=True):
        scaled = (kernel.astype(float) - kernel.min()) / (kernel.max() - kernel.min())
        np.testing.assert_allclose(picture, scaled.transpose(1, 2, 0), rtol=1e-6)


def test_features_are_those_of_the_trained_net(opened):
    figure = drawing.features(opened, Options(figure="features", image=3, channel=1, layer="stem"))
    data, net = opened.data, trained_net(opened.job, opened.directory, 10).eval()
    images, _ = next(iter(data.batches("test")))
    maps = net.stem[0](images[3:4])[0, 1].detach().numpy()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["input", "stem.0\nConv2d\n32x32, channel 1", "stem.2\nReLU\n32x32, channel 1"]
    np.testing.assert_array_equal(
        np.asarray(figure.axes[0].get_images()[0].get_array()) * 255,
        data.split("test").images[3].permute(1, 2, 0).numpy(),
    )
    shown = np.asarray(figure.axes[1].get_images()[0].get_array())
    np.testing.assert_allclose(shown, (maps - maps.min()) / (maps.max() - maps.min()), atol=1e-5)


def test_mistakes_and_confusion_agree_with_the_run_s_own_test(run, opened):
    found = opened.predictions("test")
    accuracy = json.loads((run / "result.json").read_text())["metrics"]["test/acc"]
    assert (found.predicted == found.labels).mean() == pytest.approx(accuracy)
    wrong = found.mistakes()
    assert len(wrong) == round(100 * (1 - accuracy))
    assert (found.predicted[wrong] != found.labels[wrong]).all()
    assert (np.diff(found.confidence[wrong]) <= 0).all()
    assert found.confusion(10).trace() == round(100 * accuracy)


def test_ascent_climbs_the_class_that_was_asked_for(visualize, run, opened):
    code, out, _ = visualize(f"run={run}", "figure=ascent", "label=4", "steps=40", "lr=50", "seed=3")
    assert code == 0
    name, _, said = out.splitlines()[-2].partition(": ")
    words = said.split()
    assert (name, words[0]) == (f"{opened.data.classes[4]} (4)", "score")
    assert float(words[3]) > float(words[1])
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (opened.data.mean, opened.data.std))
    net = trained_net(opened.job, opened.directory, 10).eval()
    assert float(words[1]) == pytest.approx(float(net((pixels - mean) / std)[0, 4].detach()), abs=0.006)
    for raw, seen in (
        ("true", pixels),
        ("torchvision", 0.45 * pixels - torch.tensor([0.03, 0.09, 0.19]).view(3, 1, 1)),
    ):
        code, out, _ = visualize(f"run={run}", "figure=ascent", "label=4", "steps=1", "seed=3", f"raw={raw}")
        assert code == 0
        assert float(out.splitlines()[-2].split()[3]) == pytest.approx(float(net(seen)[0, 4].detach()), abs=0.05)


def test_augmentations_show_each_configured_operation_and_all_of_them(opened):
    figure = drawing.augmentations(opened, Options(figure="augmentations", draws=3))
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["flip", "cutout", "all of these"]
    assert len(figure.axes) == 3 * 4
    original, *copies = [np.asarray(axis.get_images()[0].get_array()) for axis in figure.axes[:4]]
    assert all(np.array_equal(copy, original) or np.array_equal(copy, original[:, ::-1]) for copy in copies)


def test_augmentations_of_nothing_configured_are_all_there_are(compose_job, tiny):
    subject = Chosen(compose_job(*tiny, "augment=none"), None, None)
    figure = drawing.augmentations(subject, Options(figure="augmentations", draws=1))
    names = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert {"crop", "flip", "rotation", "zoom", "brightness", "cutout", "mixup", "cutmix"} <= set(names)
    pairs = [np.asarray(axis.get_images()[0].get_array()) for axis in figure.axes]
    mixed = pairs[2 * names.index("cutmix") :][:2]
    assert not np.array_equal(*mixed)  # its partner is another picture


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure=filter"], "figure=filter: allowed: one of samples, "),
        (["figure=filter"], "Did you mean filters?"),
        ([], "figure: a value is missing; allowed: one of samples, "),
        (["figure=curves"], "run=RUN_DIR is missing"),
        (["figure=ascent", "stesp=3"], "stesp=3: there is no key stesp. Did you mean steps?"),
        (["figure=ascent", "steps=0"], "steps=0: allowed: an integer from 1 to 1000000"),
        (["figure=ascent", "lr=-1"], "lr=-1: allowed: a number above 0"),
        (["figure=filters", "steps=3"], "steps=3: figure=filters does not read it; it reads "),
        (["figure=samples", "weights=a.pth"], "weights='a.pth': figure=samples does not read it"),
        (["figure=filters", "model.blocsk=3"], "model.blocsk=3: there is no key blocsk. Did you mean model.blocks?"),
        (["figure=filters", "epochs=3"], "epochs=3: there is no key epochs"),
        (["figure=filters", "run=nowhere"], "nowhere: not a run directory"),
        (["figure=curves", "run=nowhere"], "history.csv: there is no history of epochs to draw"),
        (["figure=features", "data=digits", "limit=20", "image=20"], "image=20: allowed: an integer from 0 to 19"),
        (["figure=features", "data=digits", "layer=nix", "width=4"], "layer=nix: no convolution"),
        (["figure=ascent", "data=digits", "width=4", "label=10"], "label=10: allowed: an integer from 0 to 9"),
        (["figure=confusion", "data=digits", "classes=7"], "classes=7: digits has 10 classes"),
        (["-m", "figure=filters,features"], "takes no -m"),
    ],
)
def test_refuses_in_one_message(visualize, tmp_path, arguments, message):
    code, _, err = visualize(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("choice", ["data=cifar10", "model=resnet18", "limit=3", "data.limit=3", "augment=[flip]"])
def test_beside_a_run_nothing_else_can_be_chosen(visualize, run, choice):
    code, _, err = visualize(f"run={run}", "figure=filters", choice)
    assert code == 2
    assert f"{choice}: run= brings its own" in err
    _, _, err = visualize(f"run={run}", "figure=filters", "weights=a.pth")
    assert "figure=filters with run= does not read it" in err


@pytest.fixture
def without_weights(run, tmp_path_factory):
    """The run as ``checkpoints=none`` would have left it."""
    directory = tmp_path_factory.mktemp("bare")
    (directory / ".hydra").mkdir()
    for name in (".hydra/config.yaml", "history.csv"):
        (directory / name).write_text((run / name).read_text())
    return directory


def test_a_run_without_weights_says_which_figures_still_work(visualize, without_weights):
    code, _, err = visualize(f"run={without_weights}", "figure=filters")
    assert code == 2
    assert "checkpoints=none" in err
    assert "samples, augmentations and curves need none" in err
    for figure in ("samples", "augmentations", "curves"):
        assert visualize(f"run={without_weights}", f"figure={figure}")[0] == 0


def test_damaged_weights_of_a_run_are_one_message(visualize, without_weights):
    path = without_weights / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    path.write_bytes(b"not a checkpoint")
    code, _, err = visualize(f"run={without_weights}", "figure=filters")
    assert code == 2
    assert f"{path} is damaged, or no checkpoint of a run" in err


def test_a_run_of_a_stranger_names_only_our_classes(visualize, without_weights):
    path = without_weights / ".hydra" / "config.yaml"
    config = OmegaConf.load(path)
    config.model, config.allow = {"_target_": "os.system", "command": "true"}, ["os"]
    OmegaConf.save(config, path)
    code, _, err = visualize(f"run={without_weights}", "figure=filters")
    assert code == 2
    assert "model._target_=os.system: only classes of cifarlab.models" in err


def test_a_link_in_the_place_of_the_picture_is_replaced_and_not_followed(visualize, without_weights, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("home") / "precious"
    elsewhere.write_text("kept")
    (without_weights / "figures").mkdir()
    (without_weights / "figures" / "curves.png").symlink_to(elsewhere)
    assert visualize(f"run={without_weights}", "figure=curves")[0] == 0
    assert elsewhere.read_text() == "kept"
    assert [item.name for item in (without_weights / "figures").iterdir()] == ["curves.png"]


@pytest.fixture
def backbone(tmp_path):
    """The first convolution of a tiny VGG, as a file."""
    torch.manual_seed(5)
    net = TinyVGG(1000, width=4)
    state = {name: value for name, value in net.state_dict().items() if name.startswith("blocks.0")}
    torch.save(state, tmp_path / "first, only=.pth")
    torch.save(net.state_dict(), tmp_path / "whole.pth")
    return net


def test_a_truncated_backbone_is_enough_for_its_filters(visualize, backbone):
    code, out, err = visualize("model=tiny_vgg", "width=4", "weights=first, only=.pth", "figure=filters")
    assert code == 0, err
    assert "missing in first, only=.pth, and not shown: blocks.2 (2), blocks.6 (2)" in out
    assert "untrained" not in out
    shown = np.asarray(Image.open(out.rstrip().splitlines()[-1]).convert("RGB"), dtype=float) / 255
    kernel = backbone.blocks[0].weight[0].detach().numpy()
    corner = ((kernel - kernel.min()) / (kernel.max() - kernel.min()))[:, 0, 0]
    # The first tile begins 0.1 inch from the left at 120 dpi; its first cell is 42 pixels wide.
    assert np.abs(shown[:, 12 + 20] - corner).sum(axis=1).min() < 0.02


def test_a_truncated_backbone_shows_features_up_to_where_it_ends(visualize, backbone):
    arguments = ["model=tiny_vgg", "width=4", "data=digits", "limit=20", "weights=first, only=.pth"]
    code, _, err = visualize(*arguments, "figure=features", "layer=blocks.2")
    assert code == 2
    assert "layer=blocks.2: no convolution" in err
    assert visualize(*arguments, "figure=features")[0] == 0
    code, _, err = visualize(*arguments, "figure=ascent")
    assert code == 2
    assert "blocks.2.weight is missing" in err
    assert "only filters and features can do with a part" in err


def test_a_trained_backbone_is_shown_and_its_new_head_is_not(visualize, tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "back=bone.pth")
    arguments = ["model=transfer", "model.name=test_resnet", "model.weights=back=bone.pth", "data=digits", "limit=20"]
    code, out, _ = visualize(*arguments, "figure=filters")
    assert code == 0
    assert "tensors for the backbone test_resnet; not used: fc (2)" in out
    assert "untrained" not in out
    assert Path(out.splitlines()[-1]).name.endswith("+model.weights-back_bone.png")
    code, _, err = visualize(*arguments, "figure=ascent", "steps=1")
    assert code == 2
    assert err.strip() == "model=transfer: its head starts anew; only filters and features can do without one"


def test_a_net_of_imagenet_climbs_without_any_data_set(visualize, tmp_path, monkeypatch):
    """Its classes have names of their own; once 10,000 steps were made before it was seen that there is no CIFAR-10."""
    monkeypatch.setenv("CIFARLAB_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr("cifarlab.data.module.ImageData.prepare_data", lambda self: pytest.fail("data was asked for"))
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "whole.pth")
    arguments = ["model=timm", "model.name=test_resnet", "model.stem=original", "weights=whole.pth"]
    code, out, err = visualize(*arguments, "figure=ascent", "label=107", "steps=2", "size=32")
    assert code == 0, err
    assert "jellyfish (107): score" in out


def test_weights_of_another_shape_are_named(visualize, backbone):
    arguments = ["model=tiny_vgg", "data=digits", "limit=20", "weights=whole.pth", "figure=ascent", "steps=1"]
    code, _, err = visualize(*arguments, "width=8")
    assert code == 2
    assert "blocks.0.weight is 4x3x3x3 in the file, 8x3x3x3 in the net" in err
    code, _, err = visualize(*arguments, "width=4", "classes=10")
    assert "head.weight is 1000x128 in the file, 10x128 in the net" in err
    assert visualize(*arguments, "width=4", "label=999")[0] == 0


def test_names_hold_what_was_typed_in_letters_for_every_file_system():
    assert file_name("filters", {"figure": "filters", "run": "a/b", "data.root": "/x"}) == "filters"
    typed = {"figure": "ascent", "weights": "'/a b/r=50.pth'", "label": "3", "augment": "[crop,flip]"}
    assert file_name("ascent", typed) == "ascent+augment-crop_flip+label-3+weights-r_50"
    assert len(file_name("ascent", {f"model.key{n}": "value" for n in range(40)})) < 250


def test_curves_are_the_run_s_history(run):
    figure = draw_curves(Options(figure="curves", run=str(run)))
    (row,) = csv.DictReader((run / "history.csv").open())
    losses, accuracies, rates = ([float(line.get_ydata()[0]) for line in panel.lines] for panel in figure.axes)
    assert losses == [float(row["train/loss"]), float(row["val/loss"])]
    assert accuracies[:2] == [float(row["train/acc"]), float(row["val/acc"])]
    assert rates == [float(row["lr"])]


def test_curves_say_run_and_data_as_far_as_these_are_known(run, tmp_path):
    (tmp_path / "history.csv").write_text((run / "history.csv").read_text())
    name = "/".join(tmp_path.parts[-2:])
    result = json.loads((run / "result.json").read_text())
    result["knobs"]["data"] = "digits"
    for record, data in ((json.dumps(result), "; digits"), ("{", ""), (None, "")):
        (tmp_path / "result.json").unlink(missing_ok=True)
        if record is not None:
            (tmp_path / "result.json").write_text(record)
        assert draw_curves(Options(figure="curves", run=str(tmp_path))).get_supxlabel() == f"run {name}{data}"


def test_help_lists_figures_and_options(visualize):
    code, out, _ = visualize("--help")
    assert code == 0
    assert "ascent         label, steps, lr, size, raw" in out
    assert "lr             step of the ascent, as a multiple of the gradient. Allowed: a number above 0" in out


def test_importing_the_verb_needs_no_torch():
    code = "import sys, cifarlab.verbs.visualize; print({'torch', 'lightning', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src")
    assert done.stdout.strip() == "set()"


def test_every_figure_says_what_it_reads_and_how_it_is_drawn() -> None:
    names = get_args(OfVisualize)
    assert tuple(READS) == names
    assert {*drawing.DRAWN} == {*names} - {"curves"}


def test_explanations_of_a_picture_a_class_and_the_mistakes(visualize, run, opened):
    code, out, err = visualize(f"run={run}", "figure=gradcam", "image=7")
    assert code == 0, err
    truth = opened.data.classes[opened.data.split("test").labels[7]]
    assert next(line for line in out.splitlines() if line.startswith("image=")).startswith("image=7: ")
    assert f"in truth {truth}" in out
    code, out, err = visualize(f"run={run}", "figure=attribution", "of=class", "label=3", "most=4")
    places = np.flatnonzero(opened.data.split("test").labels.numpy() == 3)[:4]
    assert [
        int(line[6:].partition(":")[0]) for line in out.splitlines() if line.startswith("image=")
    ] == places.tolist()
    code, out, err = visualize(f"run={run}", "figure=gradcam", "of=mistakes", "most=3", "layer=nothing")
    assert (code, "layer=nothing: " in err) == (2, True)
    code, out, err = visualize(f"run={run}", "figure=gradcam", "of=mistakes", "most=3")
    wanted = opened.predictions("test").mistakes()[:3]
    assert [
        int(line[6:].partition(":")[0]) for line in out.splitlines() if line.startswith("image=")
    ] == wanted.tolist()
    for of, given in (("picture", "label=3"), ("picture", "most=2"), ("class", "image=3"), ("mistakes", "label=3")):
        code, _, err = visualize(f"run={run}", "figure=gradcam", f"of={of}", given)
        assert (code, f"{given}: figure=gradcam of={of} with run= does not read it" in err) == (2, True), err
    for given, message in (
        ("label=10", "label=10: allowed: an integer from 0 to 9"),
        ("image=100", "image=100: allowed"),
    ):
        of = "of=class" if given.startswith("label") else "of=picture"
        code, _, err = visualize(f"run={run}", "figure=gradcam", of, given)
        assert (code, message in err) == (2, True), err


def test_an_extra_that_is_not_installed_is_named(visualize, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    code, _, err = visualize(f"run={run}", "figure=attribution")
    assert (code, err) == (2, "figure=attribution needs captum: pip install -e '.[captum]'\n")


def test_a_figure_for_print(visualize, run):
    code, out, err = visualize(f"run={run}", "figure=confusion", "format=svg", "dpi=300")
    assert code == 0, err
    path = run / "figures" / "confusion.svg"
    assert out.splitlines()[-1] == str(path)
    assert b"digits, test; weights of epoch 0 (the first" in path.read_bytes()


def test_formats_and_resolutions_that_do_not_exist_are_refused(visualize):
    code, _, err = visualize("figure=samples", "data=digits", "format=gif", "dpi=1200")
    assert code == 2
    assert "format=gif: allowed: one of png, svg, pdf" in err
    assert "dpi=1200: allowed: an integer from 50 to 600" in err


def test_outputs_have_names(opened, compose_job, tiny):
    assert opened.class_name(3) == f"{opened.data.classes[3]} (3)"
    own = Chosen(compose_job(*tiny), None, None)
    assert own.class_name(3) == f"{own.data.classes[3]} (3)"
    of_imagenet = Chosen(compose_job(*tiny), None, 1000)
    assert of_imagenet.class_name(107) == "jellyfish (107)"
    assert Chosen(compose_job(*tiny), None, 21_843).class_name(107) == "class 107"


def test_a_line_below_says_run_split_and_epoch(opened):
    words = opened.in_words("mistakes", "test")
    assert words.startswith(f"run {opened.directory.parent.name}/")
    assert words.endswith("; digits, test; weights of epoch 0 (the first is 0), chosen by val/acc")
    assert opened.in_words("samples", "train").endswith("; digits, train")
    assert opened.in_words("filters", "test").count("digits") == 0
