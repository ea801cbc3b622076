"""A trained net for other programs: its normalisation inside, its classes beside, and the same answers."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.data.module import ImageData
from cifarlab.job.configure import ConfigError
from cifarlab.job.trained import Trained
from cifarlab.models.weights import without_weights
from cifarlab.result import write_json

Format = Literal["onnx", "torchscript", "pt2", "state_dict"]
Input = Literal["uint8", "float"]

NAMES: Mapping[Format, str] = {
    "onnx": "net.onnx",
    "torchscript": "net.torchscript.pt",
    "pt2": "net.pt2",
    "state_dict": "net.safetensors",
}
INPUTS: Mapping[Input, str] = {
    "uint8": "uint8 (N, H, W, 3): red, green, blue from 0 to 255",
    "float": "float32 (N, 3, H, W): red, green, blue from 0 to 1",
}
CHECKED = 32  # test pictures whose logits are compared; more where the split has them
TOLERANCE = 1e-3  # largest difference of two logits, in units of the largest one


class Packaged(nn.Module):
    """A net that normalises what it is given.

    Args:
        net: float ``(N, 3, H, W)``, normalised -> logits ``(N, C)``.
        mean: of each channel, pixels in [0, 1].
        std: of each channel, pixels in [0, 1].
        input: which of `INPUTS` it takes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], *, input: Input) -> None:
        super().__init__()
        self.net = net
        self.input = input
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 ``(N, C)``."""
        if self.input == "uint8":
            images = images.permute(0, 3, 1, 2).float() / 255
        return self.net((images - self.mean) / self.std).float()


def export(trained: Trained, format: Format, *, input: Input = "uint8") -> tuple[Path, float]:
    """Write the net into the run's folder ``export`` and read it back.

    Returns:
        The file, and the largest difference of its logits from the net's own over some test pictures.

    Raises:
        ConfigError: packages are missing, the net cannot be written so, or the file answers otherwise than the net.
    """
    data = trained.data
    packaged = Packaged(trained.net.cpu().float().eval(), data.mean, data.std, input=input).eval()
    # Cloned: an example of an exported program is saved with all that it is a view of.
    pictures = data.split("test").images[:CHECKED].cpu().clone()
    shown = pictures.permute(0, 2, 3, 1).contiguous() if input == "uint8" else pictures.float() / 255
    about = metadata(trained, input=None if format == "state_dict" else input)
    folder = trained.directory / "export"
    folder.mkdir(exist_ok=True)
    path = folder / NAMES[format]
    partial = folder / f".{os.getpid()}.{path.name}"
    write, answer = FORMATS[format]
    try:
        with torch.no_grad(), _quiet():
            write(packaged, shown, partial, about)
            wanted = packaged(shown).numpy()
            # One picture too: a size of batch that was written in as a constant shows here.
            found = [answer(partial, trained, part) for part in (shown, shown[:1])]
        difference = float(np.abs(wanted - found[0]).max())
        difference = max(difference, float(np.abs(wanted[:1] - found[1]).max()))
        largest = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
        if not difference <= largest:
            raise ConfigError([f"export={format}: its logits differ by {difference:.3g}; allowed: {largest:.3g}"])
        partial.replace(path)
    except (ConfigError, OSError):
        raise
    except ImportError as error:
        raise ConfigError([f"export={format}: {error.name} is not installed; pip install 'cifarlab[onnx]'"]) from None
    except Exception as error:  # which one depends on the layer that the exporter cannot write
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(
            [f"export={format}: this net cannot be written so ({first}); state_dict always can"]
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    write_json(folder / f"{path.name}.json", about)
    return path, difference


def metadata(trained: Trained, *, input: Input | None) -> dict[str, Any]:
    """What a reader of the file must know."""
    data: ImageData = trained.data
    height, width = data.image_size
    takes = INPUTS[input] if input else "float32 (N, 3, H, W): (pixels / 255 - mean) / std"
    return {
        "classes": list(data.classes),
        "input": takes.replace("H, W", f"{height}, {width}"),
        "precision": "float32, whatever the run was trained in",
        "output": f"float32 (N, {data.num_classes}): logits; softmax makes them probabilities",
        "mean": list(data.mean),
        "std": list(data.std),
        "data": data.name,
        "run": trained.job.identity.key,
        "model": trained.job.parts["model"].plain(),
    }


def _write_onnx(packaged: Packaged, shown: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    import onnx
    import onnxruntime  # noqa: F401 - the check needs it, and nothing is written before it is known to be there
    import onnxscript  # noqa: F401

    program = torch.onnx.export(
        packaged,
        (shown,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {name: _text(value) for name, value in about.items()})
    onnx.save_model(model, str(path))


def _ask_onnx(path: Path, trained: Trained, shown: Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"images": shown.numpy()})[0])


def _write_torchscript(packaged: Packaged, shown: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    traced = torch.jit.trace(packaged, shown, check_trace=False)
    traced.save(str(path), _extra_files={"about.json": json.dumps(about)})


def _ask_torchscript(path: Path, trained: Trained, shown: Tensor) -> np.ndarray:
    return torch.jit.load(str(path))(shown).numpy()


def _write_pt2(packaged: Packaged, shown: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    program = torch.export.export(packaged, (shown,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"about.json": json.dumps(about)})


def _ask_pt2(path: Path, trained: Trained, shown: Tensor) -> np.ndarray:
    with path.open("rb") as file:
        return torch.export.load(file).module()(shown).numpy()


def _write_state_dict(packaged: Packaged, shown: Tensor, path: Path, about: Mapping[str, Any]) -> None:
    from safetensors.torch import save

    # Cloned: two names of one tensor are refused.
    state = {name: value.clone().contiguous() for name, value in packaged.net.state_dict().items()}
    path.write_bytes(save(state, metadata={name: _text(value) for name, value in about.items()}))


def _ask_state_dict(path: Path, trained: Trained, shown: Tensor) -> np.ndarray:
    from safetensors.torch import load_file

    with without_weights():
        net: nn.Module = trained.job.parts["model"](trained.data.num_classes)
    net.load_state_dict(load_file(path))
    return Packaged(net.eval(), trained.data.mean, trained.data.std, input="uint8")(shown).numpy()


# How each is written, and how the file that was written is asked.
FORMATS: Mapping[Format, tuple[Callable[..., None], Callable[[Path, Trained, Tensor], np.ndarray]]] = {
    "onnx": (_write_onnx, _ask_onnx),
    "torchscript": (_write_torchscript, _ask_torchscript),
    "pt2": (_write_pt2, _ask_pt2),
    "state_dict": (_write_state_dict, _ask_state_dict),
}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own talk: `torch.jit` is deprecated, which the documents say."""
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
