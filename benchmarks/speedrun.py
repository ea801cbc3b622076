"""The speed-run experiments inside `train.py` beside a bare loop of the same recipe, in turn in one command.

    python -m benchmarks.speedrun [--experiment speedrun_cpu speedrun_cpu94] [--rounds 1] [--epochs N] [--limit N]

The bare loop takes its numbers from the experiment's YAML, and has the project's net, its Muon and its views at test
time; the rest is its own: pictures in memory as normalised floats, flip and shift written out, a loop over batches, no
Lightning, no callbacks, no records. Both sides use the quiet allocator, channels_last and bfloat16 where the CPU has
it. Seconds are those of training alone, without reading the data and without the test. Each side runs in processes of
its own, in the order ours, bare, bare, ours, and so on; the rounds have the seeds 0, 1, and so on. A seed means other
draws on the two sides, so accuracies are compared over rounds, not in pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from cifarlab.data.cifar import CIFAR10
from cifarlab.models.speedrun import Speedrun
from cifarlab.training.hardware.device import device_name, gains_by_bfloat16, quiet_allocator
from cifarlab.training.optimizers.factories import muon
from cifarlab.training.recipe import Views
from cifarlab.training.step.tta import mean_logits

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ("speedrun_cpu", "speedrun_cpu94")


def data_root() -> Path:
    return Path(os.environ.get("CIFARLAB_DATA", "data"))


def normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CIFAR10.mean, CIFAR10.std))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def shifted(images: Tensor, shift: int) -> Tensor:
    """Each picture moved by up to `shift` pixels either way, reflected at the edge, place by place."""
    size, padded = images.shape[3], F.pad(images, (shift,) * 4, mode="reflect")
    places = torch.randint(0, 2 * shift + 1, (2, len(images)))
    out = torch.empty_like(images, memory_format=torch.channels_last)
    for top in range(2 * shift + 1):
        for left in range(2 * shift + 1):
            chosen = (places[0] == top) & (places[1] == left)
            out[chosen] = padded[chosen, :, top : top + size, left : left + size]
    return out


def bare(experiment: str, seed: int, epochs: int | None, limit: int | None) -> dict[str, float]:
    """Train and test once; seconds of training, and test accuracy without and with the recipe's views."""
    recipe: Any = OmegaConf.to_object(OmegaConf.load(ROOT / "conf" / "experiment" / f"{experiment}.yaml"))
    batch_size, epochs = recipe["batch_size"], epochs or recipe["epochs"]
    quiet_allocator()
    torch.manual_seed(seed)
    source = CIFAR10()
    source.prepare(data_root())
    splits = source.load(data_root())
    images, labels = normalised(splits["train"].images[:limit]), splits["train"].labels[:limit]
    net = Speedrun(10, **recipe["model"]).to(memory_format=torch.channels_last)
    net.fit_to_images(images[:5000])
    optimizer = muon(net, lr=recipe["lr"], **recipe["optimizer"])
    peaks = [group["lr"] for group in optimizer.param_groups]
    batches = -(-len(images) // batch_size)
    step, since = 0, time.perf_counter()
    mirrored = torch.rand(len(images)) < 0.5
    for _ in range(epochs):
        turned = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        pictures = shifted(turned, recipe["augment"]["crop"]["padding"])
        mirrored = ~mirrored
        for rows in torch.randperm(len(images)).split(batch_size):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * (1 - step / (epochs * batches))
            with autocast():
                logits = net(pictures[rows].contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels[rows], label_smoothing=recipe["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - since
    test, answers = normalised(splits["test"].images), splits["test"].labels
    views: dict[str, Views] = {"test/acc": "none", "test/acc_tta": recipe["tta"]}
    return {"seconds": seconds} | {name: accuracy(net, test, answers, each) for name, each in views.items()}


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=gains_by_bfloat16("cpu"))


@torch.no_grad()
def accuracy(net: Speedrun, images: Tensor, labels: Tensor, views: Views) -> float:
    net.eval()
    with autocast():
        guesses = torch.cat([mean_logits(net, part, net(part), views).argmax(1) for part in images.split(1000)])
    return (guesses == labels).float().mean().item()


def ours(experiment: str, seed: int, epochs: int | None, limit: int | None) -> dict[str, float]:
    """`train.py`, from its own result."""
    given = [f"{key}={value}" for key, value in (("epochs", epochs), ("limit", limit)) if value is not None]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "train.py"), f"experiment={experiment}", f"seed={seed}", *given]
        command += ["trainer.progress_bar=false", f"hydra.run.dir={folder}/run", f"data.root={data_root().resolve()}"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        result = json.loads((Path(folder) / "run" / "result.json").read_text())
    metrics = {name: result["metrics"][name] for name in ("test/acc", "test/acc_tta")}
    return {"seconds": result["seconds"]["train"] + result["seconds"]["compile"]} | metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", nargs="+", choices=EXPERIMENTS, default=[*EXPERIMENTS])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--limit", type=int, help="training pictures")
    parser.add_argument("--bare", type=int, metavar="SEED", help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    if given.bare is not None:
        print(json.dumps(bare(given.experiment[0], given.bare, given.epochs, given.limit)))
        return
    print(f"{device_name(torch.device('cpu'))}, torch {torch.__version__}")
    for experiment in given.experiment:
        found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
        for number in range(2 * given.rounds):
            who = "ours" if number % 4 in (0, 3) else "bare"
            once = ours if who == "ours" else in_own_process
            outcome = once(experiment, number // 2, given.epochs, given.limit)
            found[who].append(outcome)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in outcome.items() if name != "seconds")
            print(f"{experiment}  seed {number // 2}  {who:<5}{outcome['seconds']:8.1f} s  {shown}", flush=True)
        ratio = sum(each["seconds"] for each in found["ours"]) / sum(each["seconds"] for each in found["bare"])
        print(f"{experiment}  seconds of ours / bare: {ratio:.3f}", flush=True)


def in_own_process(experiment: str, seed: int, epochs: int | None, limit: int | None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speedrun", f"--bare={seed}", "--experiment", experiment]
    command += [f"--{name}={value}" for name, value in (("epochs", epochs), ("limit", limit)) if value is not None]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    outcome: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return outcome


if __name__ == "__main__":
    main()
