import lightning as L
import pytest
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from cifarlab.data import module
from cifarlab.data.augment import Augment
from cifarlab.data.batches import Place
from cifarlab.data.digits import Digits
from cifarlab.data.images import ImageSet
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.data.sources import Source


class Numbered(Source):
    """Pictures whose every pixel is their number: 100 to train, 20 own val, 20 test, five classes."""

    name = "numbered"
    mean = (0.1, 0.2, 0.3)
    std = (0.5, 0.25, 0.125)
    has_val = True

    def read(self, root):
        first = 0
        sets = {}
        for split, size in (("train", 100), ("val", 20), ("test", 20)):
            numbers = torch.arange(first, first + size, dtype=torch.uint8)
            images = numbers.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
            sets[split] = ImageSet(images, torch.arange(size) % 5, tuple("abcde"), {"origin": torch.arange(size) % 2})
            first += size
        return sets


class OneSplit(Numbered):
    """The same without a val split of its own."""

    name = "one_split"
    has_val = False

    def read(self, root):
        sets = super().read(root)
        return {split: sets[split] for split in ("train", "test")}


def data(tmp_path, source=None, **arguments):
    return ImageData(Augment(), Seeds.same(0), source=source or Numbered(), root=str(tmp_path), **arguments)


def numbers(batches, mean=0.1, std=0.5):
    """Which pictures came, read from their pixels."""
    return [round(value) for images, _ in made(batches) for value in ((images[:, 0, 0, 0] * std + mean) * 255).tolist()]


def made(batches):
    """Images and labels of places, or of batches that are made."""
    return [each.make() if isinstance(each, Place) else each for each in batches]


def test_facts_of_the_data(tmp_path):
    set_ = data(tmp_path)
    assert set_.name == "numbered"
    assert set_.classes == ("a", "b", "c", "d", "e")
    assert set_.num_classes == 5
    assert set_.image_size == (4, 4)
    assert set_.sizes == {"train": 100, "val": 20, "test": 20}
    assert set_.protocol == "standard"
    assert set_.split("test").extra["origin"].tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("normalize", "mean", "std"),
    [
        ("dataset", (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)),
        ("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("unit", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        ("imagenet", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    ],
)
def test_batches_are_normalised_as_asked(tmp_path, normalize, mean, std):
    set_ = data(tmp_path, normalize=normalize, eval_batch_size=20)
    assert (set_.mean, set_.std) == (mean, std)
    ((images, labels),) = made(set_.test_dataloader())
    assert images.dtype == torch.float32
    wanted = (torch.arange(120, 140)[:, None] / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(images[:, :, 2, 3], wanted)
    assert labels.tolist() == [0, 1, 2, 3, 4] * 4


def test_train_comes_in_a_new_order_each_epoch_and_evaluation_in_its_own(tmp_path):
    set_ = data(tmp_path, batch_size=32, eval_batch_size=7)
    train = set_.train_dataloader()
    first, again = numbers(train), numbers(train)
    set_.epoch = 1
    second = numbers(train)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first == again != second
    assert numbers(set_.val_dataloader()) == list(range(100, 120))
    assert [len(place) for place in set_.test_dataloader()] == [7, 7, 6]
    assert numbers(set_.batches("train")) == list(range(100))


def test_the_split_seed_chooses_what_is_held_out_and_the_training_seeds_do_not(tmp_path):
    def held_out(seed, **named):
        set_ = ImageData(Augment(), Seeds.same(seed), source=OneSplit(), root=str(tmp_path), **named)
        return sorted(set_.split("val").images[:, 0, 0, 0].tolist())

    plain = held_out(0, val_fraction=0.2)
    assert len(plain) == 20
    assert held_out(0, val_fraction=0.2, split_seed=1) != plain
    assert held_out(1, val_fraction=0.2) == plain
    few = held_out(0, val_fraction=0.5, limit=30)
    assert len(few) == 30
    assert held_out(0, val_fraction=0.5, limit=30, split_seed=1) != few


def test_eval_crop_moves_val_and_test_and_always_alike(tmp_path):
    def plane(batches):
        return torch.cat([images for images, _ in made(batches)])[:, 0]

    set_, plain = (data(tmp_path, source=Digits(), limit=50, **crop) for crop in ({"eval_crop": 4}, {}))
    for name in ("val", "test"):
        moved, still = plane(set_.batches(name)), plane(plain.batches(name))
        windows = nn.functional.pad(still, (4, 4, 4, 4), value=-plain.mean[0] / plain.std[0]).unfold(1, 32, 1)
        places = windows.unfold(2, 32, 1).flatten(1, 2)  # all 81 windows of each picture
        assert bool(((places - moved[:, None]).abs() < 1e-5).all((2, 3)).any(1).all())
        assert not torch.equal(moved, still)
        set_.epoch += 1
        assert torch.equal(plane(set_.batches(name)), moved)
    assert torch.equal(plane(set_.val_dataloader()), plane(set_.batches("val")))
    assert torch.equal(plane(set_.batches("train")), plane(plain.batches("train")))


def test_drop_last_is_for_training_only(tmp_path):
    set_ = data(tmp_path, batch_size=32, eval_batch_size=7, drop_last=True)
    assert (len(set_.train_dataloader()), len(set_.test_dataloader())) == (3, 3)
    assert len(data(tmp_path, batch_size=32).train_dataloader()) == 4


def test_without_val_the_loader_is_an_empty_list_and_the_split_is_refused(tmp_path):
    set_ = data(tmp_path, train_on="train+valid", val_fraction=0)
    assert set_.sizes == {"train": 120, "val": 0, "test": 20}
    assert set_.val_dataloader() == []
    with pytest.raises(ValueError, match="numbered has no split val: allowed is train, test"):
        set_.split("val")


def test_faults_are_found_when_it_is_made_or_checked(tmp_path):
    with pytest.raises(ValueError, match="digits has no validation split of its own"):
        data(tmp_path, Digits(), train_on="train+valid")
    with pytest.raises(ValueError, match="allowed is k/K"):
        data(tmp_path, fold="5")
    with pytest.raises(ValueError, match=r"limit=4 .*leaves train 4 pictures"):
        data(tmp_path, limit=4).check()


def test_check_makes_no_split(tmp_path):
    set_ = data(tmp_path)
    set_.check()
    assert set_._splits == {}


def test_the_protocol_marks_the_data(tmp_path):
    set_ = data(tmp_path, Digits(), protocol="test_20_80")
    assert set_.protocol == "test_20_80"
    assert set_.sizes == {"train": 1438, "val": 287, "test": 72}


class Watcher(L.LightningModule):
    """Notes which pictures and epochs it saw."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 5)
        self.seen = []
        self.tested = []

    def training_step(self, batch, index):
        images, labels = batch.make()
        self.seen.append((self.current_epoch, numbers([batch])))
        return nn.functional.cross_entropy(self.net(images.mean((1, 2, 3))[:, None]), labels)

    def validation_step(self, batch, index):
        assert set(numbers([batch])) <= set(range(100, 120))

    def test_step(self, batch, index):
        self.tested += numbers([batch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_trainer_gives_epoch_and_device(tmp_path):
    set_, net = data(tmp_path, batch_size=40), Watcher()
    assert set_.num_classes == 5  # asked before there is a trainer, as for making the net
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(net, datamodule=set_)
    trainer.test(net, datamodule=set_, verbose=False)
    epochs = [[n for epoch, part in net.seen if epoch == wanted for n in part] for wanted in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100))
    assert epochs[0] != epochs[1]
    set_.trainer, set_.epoch = None, 1
    assert numbers(set_.train_dataloader()) == epochs[1]
    assert net.tested == list(range(120, 140))


@pytest.mark.parametrize(("batch_size", "steps"), [(21, 5), (99, 1)])
def test_ranks_share_each_step_and_the_test_split(tmp_path, batch_size, steps):
    class Trainer:
        world_size = 3
        current_epoch = 4

        class strategy:
            root_device = torch.device("cpu")

        def __init__(self, rank):
            self.global_rank = rank

    train, test = [], []
    for rank in range(3):
        set_ = data(tmp_path, batch_size=batch_size, eval_batch_size=6)
        set_.trainer = Trainer(rank)
        train.append(numbers(set_.train_dataloader()))
        test.append(numbers(set_.test_dataloader()))
        assert len(set_.train_dataloader()) == steps
    assert sorted(sum(train, [])) == list(range(100))  # noqa: RUF017
    assert sorted(sum(test, [])) == list(range(120, 140))  # noqa: RUF017


def test_a_set_that_does_not_fit_stays_with_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 10_000))
    assert module.fits(500, torch.device("cuda"))
    assert not module.fits(501, torch.device("cuda"))
    assert module.fits(10**12, torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_splits_lie_on_the_trainers_gpu(tmp_path):
    set_, net = data(tmp_path, batch_size=40), Watcher()
    assert set_.split("train").images.device.type == "cpu"
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="gpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(net, datamodule=set_)
    assert set_.split("train").images.device.type == "cuda"
    assert sorted(n for _, part in net.seen for n in part) == list(range(100))
