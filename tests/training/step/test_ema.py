"""The moving average against its recursion, its place in training, and its resume."""

import contextlib
from collections.abc import Callable

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cifarlab.training.step.ema import WeightEMA


class Regression(LightningModule):
    """Three steps an epoch on fixed numbers; notes the weights that each validation saw."""

    def __init__(self, share: Callable[[float], float | Tensor] = float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.ema: WeightEMA | None = None
        self.share = share
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.validated: list[dict[str, Tensor]] = []

    def training_step(self, batch: Tensor, batch_index: int) -> None:
        self.net(batch).sub(batch[:, :3]).square().mean().backward()
        optimizer = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.net, self.share(self.ema.next_share()))

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.validated.append(copied(self.net))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.net.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(list(torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(1))), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([torch.zeros(2, 4)], batch_size=None)


class Notes(Callback):
    """The plain weights at the start and after every batch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.append(copied(pl_module.net))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: object) -> None:
        self.weights.append(copied(pl_module.net))


def copied(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def fit(
    module: Regression, ema: WeightEMA | None, epochs: int, folder, resume=None, **settings
) -> tuple[Trainer, Notes]:
    notes = Notes()
    module.ema = ema
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[notes, *([ema] if ema else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **settings,
    )
    trainer.fit(module, ckpt_path=resume, weights_only=True)
    return trainer, notes


@pytest.mark.parametrize(("decay", "share"), [(0.999, float), (0.2, float), (0.999, torch.tensor)])
def test_the_average_follows_its_recursion_and_validation_sees_it(tmp_path, decay, share):
    module, ema = Regression(share), WeightEMA(decay=decay)
    _, notes = fit(module, ema, 2, tmp_path)
    average, at_validation = notes.weights[0], []
    for step, weights in enumerate(notes.weights[1:], start=1):
        keep = min(decay, step / (9 + step))
        average = {
            name: keep * average[name] + (1 - keep) * value if value.is_floating_point() else value
            for name, value in weights.items()
        }
        if step % 3 == 0:
            at_validation.append(average)
    assert len(notes.weights) == 7
    assert len(module.validated) == 2
    for seen, expected in zip(module.validated, at_validation, strict=True):
        torch.testing.assert_close(seen, expected, atol=1e-6, rtol=1e-6)
    # Training goes on, and ends, with its own weights.
    assert_same(copied(module.net), notes.weights[-1])
    assert not torch.equal(module.validated[-1]["0.weight"], notes.weights[-1]["0.weight"])


def test_training_is_the_same_with_and_without(tmp_path):
    with_ema, without = Regression(), Regression()
    fit(with_ema, WeightEMA(), 2, tmp_path)
    fit(without, None, 2, tmp_path)
    assert_same(copied(with_ema.net), copied(without.net))


def test_a_resumed_run_has_the_same_average_to_the_digit(tmp_path):
    straight = WeightEMA()
    fit(Regression(), straight, 4, tmp_path)

    trainer, _ = fit(Regression(), WeightEMA(), 2, tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed, module = WeightEMA(), Regression()
    fit(module, resumed, 4, tmp_path, resume=tmp_path / "last.ckpt")
    assert resumed.updates == straight.updates == 12
    assert_same(resumed.average, straight.average)
    assert len(module.validated) == 2


def test_applied_lends_the_average_and_gives_the_weights_back(tmp_path):
    module, ema = Regression(), WeightEMA()
    fit(module, ema, 1, tmp_path)
    own, average = copied(module.net), {name: value.clone() for name, value in ema.average.items()}
    with contextlib.suppress(KeyboardInterrupt), ema.applied(module.net):
        assert_same(copied(module.net), average)
        raise KeyboardInterrupt
    assert_same(copied(module.net), own)
    assert_same(ema.average, average)


def test_an_error_in_validation_leaves_the_nets_own_weights(tmp_path):
    class Failing(Regression):
        def validation_step(self, batch: Tensor, batch_index: int) -> None:
            raise RuntimeError("broken validation")

    module, reference = Failing(), Regression()
    with pytest.raises(RuntimeError, match="broken validation"):
        fit(module, WeightEMA(), 1, tmp_path)
    fit(reference, None, 1, tmp_path)
    assert_same(copied(module.net), copied(reference.net))


def test_bfloat16_weights_are_averaged_in_float32():
    net = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.constant_(net.weight, 1.0)
    ema = WeightEMA(decay=0.999)
    ema.updates = 100_000
    ema.average = {"weight": torch.zeros(1, 1)}
    for _ in range(1000):
        ema.update(net, ema.next_share())
    assert ema.average["weight"].item() == pytest.approx(1 - 0.999**1000, rel=1e-4)
    with ema.applied(net):
        assert net.weight.item() == pytest.approx(1 - 0.999**1000, rel=2**-8)
    assert net.weight.item() == 1.0
