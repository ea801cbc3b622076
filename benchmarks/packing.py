"""Several jobs on one GPU: pictures a second in all, for 1, 2, 4 and 8 of them, with and without MPS.

    python -m benchmarks.packing [--net tiny_vgg] [--batch 128] [--workers 1 2 4 8] [--seconds 3] [--device cuda]

Each job is a process that does what `train.py` does (Lightning, a run's module, loader and Trainer, the step recorded
where it can be) on 50,000 random pictures of its own. All begin to count together, when the slowest is ready, and the
table has the sum of their speeds; the last column is that over one job's. MPS is NVIDIA's multi-process service,
started and stopped here as `hydra/launcher=local` does it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from benchmarks.step import NETS, RandomPictures
from cifarlab.data.augment import Augment
from cifarlab.data.augment.windows import Crop, Flip
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.sweeps.launchers.mps import shared_gpus
from cifarlab.training.hardware.device import device_name
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.optimizers import sgd
from cifarlab.training.penalties import NoPenalty
from cifarlab.training.schedules import constant
from cifarlab.training.step.classifier import Classifier

WARM_UP = 30  # steps before a job is ready
PATIENCE = 120.0  # seconds until all must be


class Together(Callback):
    """Waits after the warm-up until all jobs are ready, and ends training when the time is over.

    Args:
        folder: where each job leaves a file when it is ready.
        jobs: how many there are.
        seconds: to count for.
    """

    def __init__(self, folder: Path, jobs: int, seconds: float) -> None:
        self.folder, self.jobs, self.seconds = folder, jobs, seconds
        self.steps, self.since, self.speed = 0, 0.0, 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self.steps += 1
        if self.steps == WARM_UP:
            _wait(pl_module.device)
            (self.folder / f"{os.getpid()}.ready").touch()
            end = time.monotonic() + PATIENCE
            while len(list(self.folder.glob("*.ready"))) < self.jobs and time.monotonic() < end:
                time.sleep(0.002)
            self.since = time.perf_counter()
        elif self.steps > WARM_UP and self.steps % 10 == 0:
            _wait(pl_module.device)
            elapsed = time.perf_counter() - self.since
            if elapsed > self.seconds:
                self.speed = (self.steps - WARM_UP) / elapsed
                trainer.should_stop = True


def job(net: str, batch_size: int, device: str, folder: Path, jobs: int, seconds: float) -> None:
    """One job: prints its pictures a second."""
    watch = Together(folder, jobs, seconds)
    settings = TrainerSettings(accelerator=device, progress_bar=False)  # type: ignore[arg-type]
    trainer = settings.make(1_000_000, folder, [watch])
    count = 50_000 if device == "cuda" else 2_000
    data = ImageData(
        Augment(crop=Crop(padding=4), flip=Flip()), Seeds.same(0), source=RandomPictures(count),
        batch_size=batch_size, val_fraction=0.0, drop_last=True,
    )  # fmt: skip
    module = Classifier(
        NETS[net](10).to(memory_format=torch.channels_last),
        optimizer=lambda net: sgd(net, lr=0.01),
        schedule=lambda optimizer, budget: constant(optimizer, budget),  # type: ignore[arg-type, return-value]
        penalty=NoPenalty(),
    )
    trainer.fit(module, datamodule=data)
    print(f"images_per_second {watch.speed * batch_size:.1f}")


def in_all(options: argparse.Namespace, jobs: int, variables: Mapping[str, str]) -> float:
    """The sum of the speeds of so many jobs at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": str(max(1, cores // jobs))}
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.packing", "--folder", folder, "--workers", str(jobs)]
        command += ["--net", options.net, "--batch", str(options.batch), "--seconds", str(options.seconds)]
        command += ["--device", options.device]
        running = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(jobs)
        ]
        total = 0.0
        for process in running:
            out, err = process.communicate()
            lines = [line for line in out.splitlines() if line.startswith("images_per_second ")]
            if not lines:
                raise RuntimeError(f"a job of {jobs} came to nothing: {err.strip().splitlines()[-1:]}")
            total += float(lines[0].split()[1])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="tiny_vgg", choices=NETS)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # set for a job: where it meets the others
    options = parser.parse_args()
    if options.folder is not None:
        job(options.net, options.batch, options.device, options.folder, options.workers[0], options.seconds)
        return
    print(f"{device_name(torch.device(options.device))}, torch {torch.__version__}, {options.net}, {options.batch}")
    print("| jobs | MPS | images/s in all | of one job's |\n|---|---|---|---|")
    alone: float | None = None
    for wanted in (False, True) if options.device == "cuda" else (False,):
        with shared_gpus(wanted) as variables:
            if wanted and not variables:
                print("MPS: not on this machine, or not working")
                return
            for jobs in options.workers:
                total = in_all(options, jobs, variables)
                alone = alone or total / jobs
                print(f"| {jobs} | {'yes' if wanted else 'no'} | {total:,.0f} | {total / alone:.2f} |", flush=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
