"""Test-time augmentation against views written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cifarlab.job.job import Job
from cifarlab.job.trained import trained_net
from cifarlab.training.step.tta import mean_logits


class Places(nn.Module):
    """Logits that are three pixels of the first channel: a view shows where its pixels come from."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images[:, 0, 0, 0], images[:, 0, 2, 3], images[:, 0, -1, -1]], dim=1)


def by_hand(picture: np.ndarray) -> np.ndarray:
    """The mean of `Places` over the six views of one ``(H, W)`` channel, each with its weight."""
    around = np.pad(picture, 1, mode="reflect")
    down_right, up_left = around[:-2, :-2], around[2:, 2:]
    total = np.zeros(3)
    for view, weight in ((picture, 1 / 4), (down_right, 1 / 8), (up_left, 1 / 8)):
        for way in (view, view[:, ::-1]):
            total += weight * np.array([way[0, 0], way[2, 3], way[-1, -1]])
    return total


def test_views_are_those_of_the_paper() -> None:
    images = torch.randn(5, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    net = Places()
    found = mean_logits(net, images, net(images), "mirror_shift")
    np.testing.assert_allclose(found.numpy(), [by_hand(image[0].numpy()) for image in images], rtol=1e-6, atol=1e-6)
    mirrored = mean_logits(net, images, net(images), "mirror")
    torch.testing.assert_close(mirrored, (net(images) + net(images.flip(3))) / 2)
    assert torch.equal(mean_logits(net, images, net(images), "none"), net(images))


@pytest.mark.parametrize("views", ["mirror", "mirror_shift"])
def test_a_run_records_it_beside_the_plain_accuracy(views: str, tiny_job: Callable[..., Job], tmp_path: Path) -> None:
    plain = tiny_job("++figures=[]").execute(tmp_path / "plain")
    job = tiny_job("++figures=[]", f"++tta={views}")
    result = job.execute(tmp_path / "run")
    assert result.status == "finished", result.error
    assert "test/acc_tta" not in plain.metrics
    assert {name: value for name, value in result.metrics.items() if name != "test/acc_tta"} == plain.metrics
    assert result.knobs["tta"] == views
    assert result.key != plain.key

    data = job.make_data()
    data.prepare_data()
    data.setup("test")
    net = trained_net(job, tmp_path / "run", data.num_classes).eval()
    right = seen = 0
    with torch.no_grad():
        for images, labels in data.test_dataloader().batches:
            right += int((mean_logits(net, images, net(images), views).argmax(1) == labels).sum())  # type: ignore[arg-type]
            seen += len(labels)
    assert result.metrics["test/acc_tta"] == pytest.approx(right / seen, abs=1e-12)
