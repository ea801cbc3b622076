"""What ``visualize.py`` can be told beside data, augment and model, and which figure reads what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le
from omegaconf import DictConfig, OmegaConf

from cifarlab.figures import OfVisualize
from cifarlab.figures.formats import DotsPerInch, Format
from cifarlab.job.configure import ConfigError, config_parameters, describe_call, unknown
from cifarlab.job.nodes import INTERPOLATION, SHORT_NAMES
from cifarlab.verbs.paths import expanded

# What each figure reads of the options; the others are refused beside it.
READS: Mapping[OfVisualize, tuple[str, ...]] = {
    "samples": ("split", "per_class"),
    "augmentations": ("split", "image", "draws"),
    "curves": (),
    "filters": ("most", "rgb"),
    "features": ("split", "image", "channel", "layer", "size"),
    "confusion": ("split",),
    "calibration": ("split",),
    "mistakes": ("split", "most"),
    "ascent": ("label", "steps", "lr", "size", "raw"),
    "gradcam": ("split", "of", "image", "label", "most", "layer"),
    "attribution": ("split", "of", "image", "label", "most"),
    "embedding": ("split", "most"),
}
# What says which answers are explained, by the value of `of`.
CHOOSES = {"picture": ("image",), "class": ("label", "most"), "mistakes": ("most",)}
OF_ANY = ("figure", "run", "seed", "allow", "format", "dpi")
OF_A_NET = ("weights", "classes")
WITHOUT_WEIGHTS = ("samples", "augmentations", "curves")


class Options:
    """What `visualize.py` is told beside data, augment and model.

    Args:
        figure: what is drawn.
        run: directory of a run that config, data and weights come from.
        weights: file with a state_dict for the chosen model; it may lack what the figure does not need.
        classes: outputs of the chosen model; null takes the data set's, and 1000 (ImageNet) for weights from elsewhere.
        allow: import paths of your own models, data sets and augmentations that a config may name.
        format: of the file; an SVG or PDF has lines and letters that know no pixels, for print.
        dpi: dots an inch of a PNG, and of the pictures inside an SVG or PDF; null is 120, and 300 in these.
        seed: of the first pixels of an ascent, of the augmentation, and of the weights of an untrained net.
        split: of the data; null is train for samples and augmentations, test for the others.
        of: which answers are explained: that about one picture (`image`), about the first pictures of a class
            (`label`), or the wrong ones that the net was surest of.
        image: which picture of the split.
        per_class: pictures of each class.
        draws: augmented copies of the picture.
        most: filters, mistakes, explanations or points shown at most; null is all filters, 40 mistakes, 8 explanations,
            2000 points, of each class in proportion.
        rgb: a filter as one picture in colour, or each of its channels apart.
        channel: which channel of each layer, one that all of them have; null shows the first twelve.
        layer: features: only layers whose name begins so; gradcam: the layer whose maps are weighted, by default the
            last convolution with maps larger than one pixel.
        size: side in pixels of the picture that the net is given; null leaves the data's, or what the net was made for.
        label: index of the class to climb, or to explain.
        steps: updates of the picture.
        lr: step of the ascent, as a multiple of the gradient.
        raw: climb without the mean and deviation of channels that the net was trained with (R1.5): pixels in [0, 1] as
            they are, or as torchvision's own GoogLeNet and InceptionV3 turn such around (by 0.458 x - 0.030,
            0.448 x - 0.088 and 0.450 x - 0.188), which timm's copies with the same weights do not.
    """

    def __init__(
        self,
        *,
        figure: OfVisualize,
        run: str | None = None,
        weights: str | None = None,
        classes: Annotated[int, Ge(1), Le(100_000)] | None = None,
        allow: tuple[str, ...] = (),
        format: Format = "png",
        dpi: DotsPerInch | None = None,
        seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0,
        split: Literal["train", "val", "test"] | None = None,
        of: Literal["picture", "class", "mistakes"] = "picture",
        image: Annotated[int, Ge(0)] = 0,
        per_class: Annotated[int, Ge(1), Le(100)] = 1,
        draws: Annotated[int, Ge(1), Le(32)] = 8,
        most: Annotated[int, Ge(1), Le(100_000)] | None = None,
        rgb: bool = True,
        channel: Annotated[int, Ge(0)] | None = 0,
        layer: str = "",
        size: Annotated[int, Ge(1), Le(2048)] | None = None,
        label: Annotated[int, Ge(0)] = 0,
        steps: Annotated[int, Ge(1), Le(1_000_000)] = 500,
        lr: Annotated[float, Gt(0)] = 0.1,
        raw: Literal["torchvision"] | bool = False,
    ) -> None:
        self.figure: OfVisualize = figure
        self.run = None if run is None else expanded(run)
        self.weights = None if weights is None else expanded(weights)
        self.classes = classes
        self.allow = allow
        self.format: Format = format
        self.dpi = dpi
        self.seed = seed
        self.split = split or ("train" if figure in ("samples", "augmentations") else "test")
        self.of = of
        self.image = image
        self.per_class = per_class
        self.draws = draws
        self.most = most
        self.rgb = rgb
        self.channel = channel
        self.layer = layer
        self.size = size
        self.label = label
        self.steps = steps
        self.lr = lr
        self.raw = raw


NAMES = tuple(config_parameters(Options))


def read_options(config: DictConfig, typed: Mapping[str, str]) -> Options:
    """The options of a composed config, checked.

    Args:
        config: as composed.
        typed: key -> text of the command line's overrides.

    Raises:
        ConfigError: every fault at once, also an option that the figure does not read.
    """
    values: dict[Any, Any] = {name: config[name] for name in NAMES if name in config}
    values = {name: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for name, v in values.items()}
    faults: list[str] = []
    try:
        options: Options | None = describe_call(Options, values, key="")()
    except ConfigError as error:
        options, faults = None, list(error.faults)
    faults += _unread(config, typed, values)
    if options is None or faults:
        raise ConfigError(faults)
    return options


def _unread(config: DictConfig, typed: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    """What was typed and would change nothing: options of other figures, choices beside a run, keys nobody knows."""
    figure: Any = values.get("figure")
    beside_run = values.get("run") is not None
    read = [*OF_ANY, *READS[figure]] if figure in get_args(OfVisualize) else list(NAMES)
    if not beside_run and figure not in WITHOUT_WEIGHTS:
        read += OF_A_NET
    of = str(values.get("of", "picture"))
    if figure in get_args(OfVisualize) and "of" in read and of in CHOOSES:
        unread = {name for names in CHOOSES.values() for name in names} - set(CHOOSES[of])
        read = [name for name in read if name not in unread]
        figure = f"{figure} of={of}"
    shown = f"figure={figure} with run=" if beside_run else f"figure={figure}"
    faults = [
        f"{key}={text}: {shown} does not read it; it reads {', '.join(read)}"
        for key, text in typed.items()
        if key in NAMES and key not in read
    ]
    short_names = (name for group in ("model", "data", "trainer") for name in SHORT_NAMES[group])
    composed = {*short_names, *INTERPOLATION.findall(OmegaConf.to_yaml(config))}
    for key, text in typed.items():
        group = key.partition(".")[0]
        if key in NAMES or group == "hydra" or key == "data.root":
            continue
        if beside_run and (group in composed or isinstance(config.get(group), DictConfig)):
            faults.append(f"{key}={text}: run= brings its own; beside it stand only data.root and {', '.join(NAMES)}")
        elif group not in composed and not isinstance(config.get(group), DictConfig):
            faults.append(unknown(key, text, sorted({*NAMES, *composed})))
    return faults
