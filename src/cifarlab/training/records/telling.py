"""What a run says on the terminal: where it takes place, and a line an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cifarlab.training.records.history import Row

PAIRED = ("acc", "loss")


def opening(
    directory: Path,
    *,
    knobs: Mapping[str, object],
    parameters: int,
    sizes: Mapping[str, int],
    device: str,
    precision: str,
) -> str:
    """The first lines of a run.

    Args:
        directory: the run directory.
        knobs: of the run, by name; those of its model, data, optimizer and augmentation are named.
        parameters: of the net.
        sizes: split -> pictures.
        device: its name.
        precision: Lightning's, as resolved.
    """
    pictures = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    trained = [
        f"{name} {knobs[name]}" for name in ("optimizer", "lr", "schedule", "batch_size", "augment") if name in knobs
    ]
    return "\n".join(
        [
            f"model     {knobs.get('model', 'own')}, {parameters:,} parameters",
            f"data      {knobs.get('data', 'own')}: {pictures}",
            *([f"training  {', '.join(trained)}"] if trained else []),
            f"device    {device}, precision {precision}",
            f"directory {directory}",
        ]
    )


def epoch_line(row: Row, epochs: int) -> str:
    """One epoch, its train and validation values side by side: both were measured by the time it is said.

    Args:
        row: of the history.
        epochs: that the run is to have.
    """
    number = f"{int(row['epoch'] or 0) + 1}".rjust(len(str(epochs)))
    pairs = [
        "  ".join(f"{name} {value:.4f}" for name in names if (value := row.get(name)) is not None)
        for names in ((f"train/{metric}", f"val/{metric}") for metric in PAIRED)
    ]
    rest = f"lr {row['lr']:.3g}   after {row['seconds']:.1f} s"
    return "   ".join([f"epoch {number}/{epochs}", *filter(None, pairs), rest])
