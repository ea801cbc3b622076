"""The figures that need torch: what each takes of its subject, and what it says beside the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from cifarlab.data.augment import Augment
from cifarlab.data.splits import limited
from cifarlab.evaluation.calibration import answers, fit_temperature, measures, reliability
from cifarlab.figures import confusion as matrix
from cifarlab.figures import embedding as points
from cifarlab.figures import pictures
from cifarlab.figures.calibration import Bins
from cifarlab.figures.calibration import calibration as diagram
from cifarlab.figures.explanations import Explained, explanations
from cifarlab.job.configure import ConfigError, config_parameters, describe_call
from cifarlab.models.initialization import output_layer
from cifarlab.probes.ascent import TORCHVISION_MEAN, TORCHVISION_STD, climb
from cifarlab.probes.embedding import penultimate, planes
from cifarlab.probes.explanations import attribute, mapping_layers
from cifarlab.probes.explanations import gradcam as weighted_maps
from cifarlab.probes.features import feature_maps
from cifarlab.probes.filters import first_filters
from cifarlab.verbs.figure_options import Options
from cifarlab.verbs.subject import Subject

MOST_MISTAKES = 40
MOST_EXPLAINED = 8
MOST_POINTS = 2000  # t-SNE of so many: the whole command took 36 s on a busy core
LISTED = 10
TURNING = ("inception_v3", "googlenet")  # whose input torchvision turns around where it brings the weights


def samples(subject: Subject, options: Options) -> Figure:
    """Counts, sizes and classes, and pictures of each class (R4.1, R5.1)."""
    data = subject.data
    counts = {name: class_counts(data.split(name).labels, data.num_classes) for name, n in data.sizes.items() if n}
    height, width = data.image_size
    sizes = ", ".join(f"{name} {data.sizes[name]:,}" for name in counts)
    note = f"{data.name}: {data.num_classes} classes, {height}x{width} pixels; {sizes}"
    print(note)
    longest = max(len(name) for name in data.classes)
    print(f"{'':{longest}}  " + "  ".join(f"{name:>6}" for name in counts))
    for place, name in enumerate(data.classes):
        print(f"{name:{longest}}  " + "  ".join(f"{count[place]:6d}" for count in counts.values()))
    shown = data.split(options.split)
    above = f"{note}; below: {options.split}"
    names = [f"{name}\n{count}" for name, count in zip(data.classes, counts[options.split], strict=True)]
    return pictures.samples(_pixels(shown.images), shown.labels.numpy(), names, per_class=options.per_class, note=above)


def augmentations(subject: Subject, options: Options) -> Figure:
    """The picture beside copies by each configured operation, or by all there are where none is configured (R5.5)."""
    configured = subject.job.parts["augment"]()
    configured.try_out(subject.data.image_size)
    given = subject.job.parts["augment"].arguments
    if configured.names:
        each = {name: Augment(**{name: given[name]()}) for name in configured.names}
    else:
        print("no augmentation is configured: all operations are shown, with their defaults")
        names = [name for name in config_parameters(Augment) if name != "mode"]
        each = {name: describe_call(Augment, {name: {}}, key="augment")() for name in names}
    if len(configured.names) > 1:
        each["all of these"] = configured
    # A mixing operation wants a partner: the next picture of the split.
    partner = (options.image + 1) % subject.data.sizes[options.split]
    places = torch.tensor([options.image, partner])
    both = torch.stack([subject.picture(options.split, int(place)) for place in places])
    drawn = {
        name: np.stack(
            [
                _pixels(augment.pixels(both, seed=options.seed, epoch=epoch, indices=places))[0]
                for epoch in range(options.draws)
            ]
        )
        for name, augment in each.items()
    }
    return pictures.augmentations(_pixels(both)[0], drawn)


def filters(subject: Subject, options: Options) -> Figure:
    """The first layer's filters (R1.4, R4.6)."""
    weights = first_filters(subject.net("first"))
    count, channels, height, width = weights.shape
    print(f"{count} filters of {channels} x {height} x {width}")
    together = options.rgb and channels == 3
    return pictures.filters(weights, channels="together" if together else "apart", most=options.most or count)


def features(subject: Subject, options: Options) -> Figure:
    """What every convolution, activation and pool gives for one picture (R4.5)."""
    net = subject.net("beginning")
    _, mean, std = subject.made_for(net)
    pixels = subject.picture(options.split, options.image).float() / 255
    if options.size is not None:
        pixels = F.interpolate(pixels[None], (options.size, options.size), mode="bilinear", antialias=True)[0]
    normalised = (pixels - _column(mean)) / _column(std)
    maps = feature_maps(net, normalised, below=options.layer, stop_at=subject.untrained)
    if not maps:
        raise ConfigError([f"layer={options.layer}: no convolution, activation or pool of the net begins so"])
    original = pixels.clamp(0, 1).permute(1, 2, 0).numpy()
    return pictures.feature_maps(
        {name: layer.maps for name, layer in maps.items()},
        kinds={name: layer.kind for name, layer in maps.items()},
        channel=options.channel,
        original=original,
    )


def confusion(subject: Subject, options: Options) -> Figure:
    """The confusion matrix of a split."""
    classes = subject.data.classes
    return matrix.confusion(subject.predictions(options.split).confusion(len(classes)), classes)


def calibration(subject: Subject, options: Options) -> Figure:
    """Confidence against accuracy, as the net is and, where there is a validation split, at the temperature of that."""
    logits, labels = subject.answers(options.split)
    temperatures = {"as trained": 1.0}
    if subject.data.sizes["val"]:
        found = fit_temperature(*(subject.answers("val") if options.split != "val" else (logits, labels)))
        temperatures[f"temperature {found:.3f}"] = found
    panels = {}
    for name, temperature in temperatures.items():
        bins = reliability(*answers(logits, labels, temperature))
        panels[name] = Bins(**bins._asdict(), error=bins.error)
        shown = measures(logits, labels, temperature)
        print(f"{name}: " + "  ".join(f"{measure} {value:.4f}" for measure, value in shown.items()))
    return diagram(panels, note=f"{subject.data.name}, {options.split}: {len(labels):,} pictures in equal-mass bins")


def mistakes(subject: Subject, options: Options) -> Figure:
    """The wrong answers that the net was surest of."""
    found = subject.predictions(options.split)
    data = subject.data.split(options.split)
    wrong = found.mistakes()
    said, truth = ([data.classes[kind] for kind in kinds[wrong]] for kinds in (found.predicted, found.labels))
    sure = found.confidence[wrong]
    for place, *words in list(zip(wrong, said, sure, truth, strict=True))[:LISTED]:
        print("image={}: {} {:.4f}, in truth {}".format(place, *words))
    shown = slice(options.most or MOST_MISTAKES)
    return pictures.mistakes(
        _pixels(data.images[wrong[shown]]),
        [f"{name} {share:.2f}" for name, share in zip(said[shown], sure[shown], strict=True)],
        truth[shown],
        wrong=len(wrong),
        tested=len(found.labels),
    )


def ascent(subject: Subject, options: Options) -> Figure:
    """The picture that the net answers to most strongly with one class, and the way there (R1.5)."""
    net = subject.net().requires_grad_(False).to(subject.device)
    size, mean, std = subject.made_for(net)
    if options.raw:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if options.raw == "torchvision":
        mean, std = TORCHVISION_MEAN, TORCHVISION_STD
    elif options.raw and str(subject.job.parts["model"].arguments.get("name")).startswith(TURNING):
        print("torchvision's own copy of this net would turn raw pixels around first: raw=torchvision does")
    name = subject.class_name(options.label)
    result = climb(
        net,
        options.label,
        size=size if options.size is None else (options.size, options.size),
        steps=options.steps,
        lr=options.lr,
        seed=options.seed,
        mean=mean,
        std=std,
        device=subject.device,
        watch=lambda steps: track(steps, "climbing", transient=True),
    )
    print(f"{name}: score {result.scores[0]:.2f} -> {result.scores[-1]:.2f} in {options.steps} steps")
    return pictures.ascent(result.image, result.scores, name=name)


def gradcam(subject: Subject, options: Options) -> Figure:
    """Where in a picture a layer found what speaks for the answer."""

    def maps(net: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
        layer = options.layer or mapping_layers(net, images[:1])[-1]
        print(f"layer {layer}")
        return weighted_maps(net, images, targets, layer=layer)

    return _explained(
        subject, options, maps, text="Grad-CAM: the brighter, the more it speaks for the class", signed=False
    )


def attribution(subject: Subject, options: Options) -> Figure:
    """What each pixel adds to the answer's logit, by integrated gradients."""

    def maps(net: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
        found = attribute(net, images, targets)
        print(f"the sums of the maps miss the logits' differences by {np.abs(found.gap).max():.3f} at most")
        return found.maps

    return _explained(
        subject, options, maps, text="Integrated gradients: red speaks for the class, blue against it", signed=True
    )


def embedding(subject: Subject, options: Options) -> Figure:
    """What the output layer is given, in a plane."""
    data, net = subject.data, subject.net(labelled=True).to(subject.device)
    data.trainer = subject.trainer
    found = penultimate(net, output_layer(net), data.batches(options.split))
    shown = limited(torch.from_numpy(found.labels), options.most or MOST_POINTS, options.seed).numpy()
    print(f"{len(shown)} of {len(found.labels)} pictures, {found.features.shape[1]} features")
    made = planes(found.features[shown], seed=options.seed)
    panels = {
        f"PCA, {made.explained:.2f} of the variance": made.pca,
        f"t-SNE, perplexity {made.perplexity:.0f}": made.tsne,
    }
    wrong = np.mean(found.predicted[shown] != found.labels[shown])
    text = f"{data.name}, {options.split}: {len(shown):,} pictures before the output layer, {wrong:.4f} answered wrong"
    return points.embedding(panels, found.labels[shown], found.predicted[shown], data.classes, text=text)


def _explained(
    subject: Subject,
    options: Options,
    maps: Callable[[nn.Module, Tensor, Tensor], np.ndarray],
    *,
    text: str,
    signed: bool,
) -> Figure:
    """Each chosen answer with a map for what was said, and one for the truth where that is another class."""
    data, places = subject.data, _chosen(subject, options)
    net = subject.net(labelled=True).to(subject.device)
    split, classes = data.split(options.split), data.classes
    images = torch.stack([subject.picture(options.split, place) for place in places])
    normalised = ((images.float() / 255 - _column(data.mean)) / _column(data.std)).to(subject.device)
    with torch.no_grad():
        sure, said = net.eval()(normalised).float().softmax(1).cpu().max(1)
    truth = split.labels[places].cpu()
    wrong = torch.nonzero(said != truth).flatten()
    try:
        # One pass for all: what was said of each, then the truth of those that were answered wrong.
        both = maps(net, torch.cat([normalised, normalised[wrong]]), torch.cat([said, truth[wrong]]).to(subject.device))
    except ModuleNotFoundError as error:
        raise ConfigError([f"figure={options.figure} needs captum: pip install -e '.[captum]'"]) from error
    of_truth = dict(zip(wrong.tolist(), both[len(places) :], strict=True))
    answers = []
    for place, index in enumerate(places):
        answer, right = classes[said[place]], classes[truth[place]]
        each = {answer: both[place]} | ({right: of_truth[place]} if place in of_truth else {})
        print(f"image={index}: {answer} {sure[place]:.4f}, in truth {right}")
        pixels = _pixels(images[place : place + 1])[0]
        answers.append(Explained(pixels, right, f"{answer} {sure[place]:.2f}", answer == right, each))
    return explanations(answers, text=text, signed=signed)


def _chosen(subject: Subject, options: Options) -> list[int]:
    """Places of the pictures whose answers are explained.

    Raises:
        ConfigError: there are none.
    """
    if options.of == "picture":
        return [options.image]
    most = options.most or MOST_EXPLAINED
    if options.of == "mistakes":
        found = subject.predictions(options.split).mistakes()
    else:
        classes = subject.data.classes
        if options.label >= len(classes):
            raise ConfigError([f"label={options.label}: allowed: an integer from 0 to {len(classes) - 1}"])
        found = np.flatnonzero(subject.data.split(options.split).labels.cpu().numpy() == options.label)
    if not len(found):
        raise ConfigError([f"of={options.of}: {options.split} has no such picture"])
    return [int(place) for place in found[:most]]


# All of `OfVisualize` but the curves, which need no net and no torch.
DRAWN: Mapping[str, Callable[[Subject, Options], Figure]] = {
    function.__name__: function
    for function in (
        *(samples, augmentations, filters, features, confusion, calibration, mistakes, ascent),
        *(gradcam, attribution, embedding),
    )
}


def class_counts(labels: Tensor, num_classes: int) -> NDArray[np.int64]:
    """int64 ``(C,)``: pictures of each class."""
    return np.bincount(labels.cpu().numpy(), minlength=num_classes)


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    """``(N, 3, H, W)`` -> ``(N, H, W, 3)``."""
    return images.permute(0, 2, 3, 1).cpu().numpy()


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)
