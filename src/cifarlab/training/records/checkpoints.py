"""What a run keeps of its weights: the best on validation, and all that resuming needs.

Both files carry the run's ``key`` and the ``epoch`` after which they were written, and are compared with the run before
they are used. They are written beside their place and moved there, and open with ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import errno
import math
import re
import secrets
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor, nn

from cifarlab.result import naming
from cifarlab.training.records.faults import DamagedCheckpoint, UnusableCheckpoint

FOLDER = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"
HALF_WRITTEN = re.compile(
    r"\.(best|last)\.ckpt\.[0-9a-f]{1,16}"  # by this module, in earlier versions with the number of the process
    r"|\.((environment|evaluation|progress|result)\.json|history\.csv|report\.txt|uncommitted\S*\.diff)\.[a-z0-9_]{8}"
)


class BestWeights:
    """``best.ckpt``: the net's own ``state_dict`` of the epoch with the highest validation accuracy.

    Ties go to the lower validation loss, then to the earlier epoch. Without a validation split every epoch replaces
    the one before.

    Args:
        directory: the run directory.
        key: of the run.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self.path = directory / FOLDER / BEST
        self.key = key
        self.score: tuple[float, float] = (-math.inf, -math.inf)
        self.epoch = -1
        self.by = "last"

    def takes(self, epoch: int, measured: Mapping[str, float]) -> bool:
        """Whether this epoch is the best so far, which it is from then on."""
        if "val/acc" in measured:
            self.by = "val/acc"
            score = (measured["val/acc"], -measured["val/loss"])
            if not score > self.score:
                return False
            self.score = score
        self.epoch = epoch
        return True

    def save(self, net: nn.Module) -> None:
        """Keep the net as it is."""
        save_weights(self.path, net, key=self.key, epoch=self.epoch)

    def load(self, net: nn.Module) -> None:
        """Put the best weights into the net.

        Raises:
            UnusableCheckpoint: the file is damaged, of another run, or of another epoch than the best.
        """
        epoch = load_weights(self.path, net, key=self.key).get("epoch")
        if epoch != self.epoch:
            raise UnusableCheckpoint(
                f"{self.path} is of epoch {epoch}, the best was {self.epoch}: {start_over(self.path)}"
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": list(self.score), "epoch": self.epoch, "by": self.by}

    def restore(self, state: Mapping[str, Any], last_epoch: int) -> None:
        """Go on from a checkpoint.

        A run that was killed between the writing of its two files has replaced the best weights in the epoch that it is
        about to repeat; that epoch then takes their place whatever it scores (on a GPU it may score a little less).

        Args:
            state: of the checkpoint.
            last_epoch: after which it was written.
        """
        self.epoch, self.by = state["epoch"], state["by"]
        if epoch_of_best(self.path) == last_epoch + 1:
            self.score = (-math.inf, -math.inf)
        else:
            self.score = tuple(state["best"])


class LastState:
    """``last.ckpt``: weights, optimizer, schedule, callbacks and random generators at the end of an epoch.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FOLDER / LAST
        self._generators: dict[str, Any] | None = None

    def save(self, trainer: Trainer) -> None:
        """Have Lightning write all that it and the callbacks know."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)  # takes part, and writes nothing
            return
        with _written_beside(self.path) as temporary:
            trainer.save_checkpoint(temporary)

    def restore_generators(self, device: torch.device) -> None:
        """Set the random generators to where they were; nothing the second time, or where nothing is gone on with."""
        if self._generators is None:
            return
        torch.set_rng_state(self._generators["cpu"])
        if device.type == "cuda" and "cuda" in self._generators:
            torch.cuda.set_rng_state(self._generators["cuda"], device)
        self._generators = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the generators as they are now."""
        state = {"cpu": torch.get_rng_state()}
        return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember the generators of a checkpoint until training begins."""
        self._generators = dict(state)


def save_weights(path: Path, net: nn.Module, **about: int | float | str) -> None:
    """Write ``{"state_dict": ..., **about}`` atomically; the names are the net's own."""
    save_checkpoint(path, {"state_dict": plain_state(net), **about})


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically."""
    with _written_beside(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(dict(content), file)
        except RuntimeError as error:  # torch reports its own confusion after the disk's error
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load_weights(path: Path, net: nn.Module, *, key: str | None = None) -> dict[str, Any]:
    """Put a ``best.ckpt`` into the net and return what else the file says.

    Args:
        path: of the file.
        net: of the same architecture.
        key: of the run whose weights are wanted.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableCheckpoint: it is damaged, or of another run.
        RuntimeError: the weights are of another architecture.
    """
    checkpoint = read_checkpoint(path, key=key)
    net.load_state_dict(checkpoint.pop("state_dict"))
    return checkpoint


def read_checkpoint(path: Path, *, key: str | None = None, mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Args:
        path: of the file.
        key: of the run that it should be of. One without a key, of an earlier version, is taken for it.
        mmap: leave the tensors in the file until they are read.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableCheckpoint: it is damaged, or of another run; the message names the file and the way out.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise TypeError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a stranger's pickle, which is refused in a line
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if not isinstance(content["state_dict"], Mapping):
            raise TypeError
    except Exception as error:  # torch has many for a file that is none, and advises to let it run code
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is a file that is too short to map
            raise
        raise DamagedCheckpoint(f"{path} is damaged, or no checkpoint of a run: {start_over(path)}") from None
    found = content.get("key")
    if key is not None and found not in (None, key):
        raise UnusableCheckpoint(f"{path} is of another run ({found}) than this one ({key}): {start_over(path)}")
    return content


def check_checkpoints(directory: Path, key: str) -> bool:
    """Look at what a run would go on with, before anything is built or trained.

    Args:
        directory: the run directory.
        key: of the run.

    Returns:
        Whether there is a ``last.ckpt`` to go on with.

    Raises:
        DamagedCheckpoint: it is damaged, or the ``best.ckpt`` that belongs to it is.
        UnusableCheckpoint: one of them is another run's.
    """
    last, best = directory / FOLDER / LAST, directory / FOLDER / BEST
    if not last.exists():
        return False
    checkpoint = read_checkpoint(last, key=key, mmap=True)
    try:
        expected, epoch = int(recorded(checkpoint, last)["best"]["epoch"]), int(checkpoint["epoch"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UnusableCheckpoint):
            raise
        raise DamagedCheckpoint(f"{last} is damaged, or no checkpoint of a run: {start_over(last)}") from None
    if expected < 0:
        return True
    if not best.exists():
        raise DamagedCheckpoint(f"{best} is missing, and {last} belongs to it: {start_over(last)}")
    found = read_checkpoint(best, key=key, mmap=True).get("epoch")
    if found not in (expected, epoch + 1):
        raise DamagedCheckpoint(
            f"{best} is of epoch {found}, {last} of epoch {epoch} expects {expected}: {start_over(last)}"
        )
    return True


def recorded(checkpoint: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """What the recorder has put into a ``last.ckpt``, by name; in earlier versions three callbacks did so.

    Raises:
        DamagedCheckpoint: there is nothing of the kind.
    """
    try:
        if "record" in checkpoint:
            return {name: checkpoint["record"][name] for name in ("history", "best", "generators")}
        callbacks = checkpoint["callbacks"]
        return {"history": callbacks["History"], "best": callbacks["BestWeights"], "generators": callbacks["LastState"]}
    except (KeyError, TypeError):
        raise DamagedCheckpoint(f"{path} is damaged, or no checkpoint of a run: {start_over(path)}") from None


def set_aside(directory: Path) -> Path:
    """Rename the folder of checkpoints, so that the run begins anew; the new path."""
    return (directory / FOLDER).rename(directory / f"{FOLDER}.damaged-{secrets.token_hex(4)}")


def epoch_of_best(path: Path) -> int | None:
    """The epoch of a ``best.ckpt``; None where there is none."""
    return read_checkpoint(path, mmap=True).get("epoch") if path.exists() else None


def start_over(path: Path) -> str:
    """The way out, where a checkpoint cannot be used."""
    return f"remove the folder {path.parent} and start the run again"


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """The net's ``state_dict`` on the CPU in the ordinary memory format."""
    return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}


def discard(directory: Path, keep: str) -> None:
    """Remove what a finished run does not keep: ``all`` keeps both files, ``best`` the best, ``none`` neither."""
    folder = directory / FOLDER
    remove_half_written(directory)
    for name, kept_by in ((LAST, ("all",)), (BEST, ("all", "best"))):
        if keep not in kept_by:
            (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def remove_half_written(directory: Path) -> None:
    """Remove what a killed process was writing beside its place: ``.best.ckpt.0123``, ``.result.json.abcd``."""
    for left_behind in (*directory.glob(".*.*.*"), *(directory / FOLDER).glob(".*.*.*")):
        if left_behind.is_file() and HALF_WRITTEN.fullmatch(left_behind.name):
            left_behind.unlink(missing_ok=True)


@contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    """A path of its own in the same folder; what is written there takes the other's place, or goes if that fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
