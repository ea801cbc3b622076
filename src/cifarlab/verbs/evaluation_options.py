"""What ``evaluate.py`` can be told."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from cifarlab.evaluation.runs import as_typed
from cifarlab.job.directory import is_run_directory
from cifarlab.verbs.paths import expanded


class DataSets:
    """Where data sets lie.

    Args:
        root: folder with the data sets' own folders; as the run had it if null.
    """

    def __init__(self, *, root: str | None = None) -> None:
        self.root = root


class Options:
    """What `evaluate.py` is told.

    Args:
        run: directory of a run, of a sweep, or several: ``run=[A,B]``.
        data: ``data.root=PATH`` says where the data sets lie now.
        allow: import paths of your own models, data sets and augmentations that the run's config may name.
        per_class: calibration of each class too.
        shift: test elsewhere too: on the fifteen corruptions of the test pictures, or on CIFAR-10.1.
        seed: of what corruptions draw.
        images: a picture or a folder of pictures, to be classified.
        export: write the net with its normalisation, for other programs.
        input: what an exported net takes: ``uint8`` (N, H, W, 3), or ``float`` (N, 3, H, W) in [0, 1].

    Raises:
        ValueError: options that do not go together.
    """

    def __init__(
        self,
        *,
        run: str,
        data: DataSets | None = None,
        allow: tuple[str, ...] = (),
        per_class: bool = False,
        shift: Literal["none", "corruptions", "cifar10.1"] = "none",
        seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0,
        images: str | None = None,
        export: Literal["none", "onnx", "torchscript", "pt2", "state_dict"] = "none",
        input: Literal["uint8", "float"] = "uint8",
    ) -> None:
        self.runs = [expanded(path) for path in as_typed(run)]
        self.root = data.root if data else None
        self.allow = allow
        self.per_class = per_class
        self.shift = shift
        self.seed = seed
        self.images = None if images is None else expanded(images)
        self.export = export
        self.input = input
        self._check()

    @property
    def is_one_run(self) -> bool:
        return len(self.runs) == 1 and is_run_directory(self.runs[0])

    def _check(self) -> None:
        if not self.runs:
            raise ValueError("run=[]: allowed: a run's directory, a sweep's, or several: run=[A,B]")
        asked = {
            "images": self.images is not None,
            "export": self.export != "none",
            "shift": self.shift != "none",
            "per_class": self.per_class,
        }
        alone = [name for name in ("images", "export") if asked[name]]
        beside = [name for name, is_asked in asked.items() if is_asked and name not in alone[:1]]
        if alone and beside:
            raise ValueError(f"{alone[0]}= and {beside[0]}= are asked for at once; give one of them")
        if self.input != "uint8" and self.export in ("none", "state_dict"):
            raise ValueError(f"input={self.input}: only export=onnx, torchscript and pt2 read it")
        if self.seed and self.shift != "corruptions":
            raise ValueError(f"seed={self.seed}: only shift=corruptions reads it")
        if alone and not self.is_one_run:
            shown = ",".join(map(str, self.runs))
            raise ValueError(f"{alone[0]}= asks one net: run={shown} is no run's directory; give one of the runs in it")
