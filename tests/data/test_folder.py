"""Pictures of one's own: both layouts, what is left out, packing anew, and every refusal."""

import logging
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cifarlab.data import packing
from cifarlab.data.augment import Augment
from cifarlab.data.folder import Folder, moments
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.data.sources import MissingData

CLASSES = ("ant", "bee", "cow")


def write(folder, count=10, classes=CLASSES, size=(32, 32), seed=0):
    """So many pictures of noise in each class folder."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{place:03}.png")
    return folder


def module(root, **given):
    return ImageData(Augment(), Seeds.same(0), source=Folder(), root=str(root), **given)


def counts(images):
    return images.labels.bincount(minlength=images.num_classes).tolist()


def test_splits_of_their_own_come_in_the_order_of_class_and_name(tmp_path):
    for seed, (folder, count) in enumerate((("train", 6), ("valid", 2), ("test", 3))):
        write(tmp_path / folder, count, seed=seed)
    sets = Folder().load(tmp_path)
    assert {split: counts(images) for split, images in sets.items()} == {
        "train": [6] * 3,
        "val": [2] * 3,
        "test": [3] * 3,
    }
    assert sets["train"].classes == CLASSES
    files = [tmp_path / "train" / name / f"{place:03}.png" for name in CLASSES for place in range(6)]
    wanted = np.stack([np.asarray(Image.open(path)) for path in files])
    assert np.array_equal(sets["train"].images.permute(0, 2, 3, 1).numpy(), wanted)
    assert sets["train"].images.is_contiguous(memory_format=torch.channels_last)


def test_one_folder_of_classes_is_split_with_each_class_in_proportion_whatever_the_seed(tmp_path):
    write(tmp_path, 40, ("ant", "bee"))
    write(tmp_path, 20, ("cow",), seed=1)
    first, second = (module(tmp_path, split_seed=seed) for seed in (0, 1))
    assert [counts(first.split(name)) for name in ("train", "val", "test")] == [[29, 29, 14], [3, 3, 2], [8, 8, 4]]
    assert torch.equal(first.split("test").images, second.split("test").images)
    assert not torch.equal(first.split("val").images, second.split("val").images)
    everything = torch.cat([first.split(name).images for name in ("train", "val", "test")])
    assert len(everything.flatten(1).unique(dim=0)) == 100


def test_pictures_are_resized_and_each_size_has_a_pack_of_its_own(tmp_path):
    write(tmp_path, 40, size=(48, 70))
    for size in (32, 64):
        assert module(tmp_path, image_size=size).image_size == (size, size)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["folder-32-v1.pt", "folder-64-v1.pt"]


def test_mean_and_deviation_are_those_of_the_training_pictures(tmp_path):
    write(tmp_path / "train", 7)
    write(tmp_path / "test", 5, seed=1)
    data = module(tmp_path)
    pixels = data.source.load(tmp_path)["train"].images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), unbiased=False).tolist(), abs=1e-12)
    assert module(tmp_path, normalize="half").mean == (0.5, 0.5, 0.5)


def test_pictures_of_one_colour_are_not_divided_by_nothing():
    assert moments(torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)) == ((0.2, 0.2, 0.2), (1 / 255, 1 / 255, 1 / 255))


def test_many_are_decoded_by_processes_to_the_same_end(tmp_path, monkeypatch):
    write(tmp_path, 8)
    threads = Folder().pack(tmp_path)
    monkeypatch.setattr(packing, "WORTH_PROCESSES", 1)
    processes = Folder().pack(tmp_path)
    assert threads.fingerprint == processes.fingerprint
    assert all(torch.equal(threads.sets[split].images, processes.sets[split].images) for split in threads.sets)


def test_what_is_odd_is_named_and_what_is_no_picture_is_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path, 9)
    write(tmp_path, 30, ("cow",), seed=1)
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / "bee" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "bee" / ".hidden.png").write_bytes(b"passed over")
    (tmp_path / ".git").mkdir()
    shutil.copy(tmp_path / "bee" / "000.png", tmp_path / "bee" / "same.png")
    Image.new("L", (5, 9)).save(tmp_path / "bee" / "small.png")
    (tmp_path / "cow" / "deep" / "er").mkdir(parents=True)
    Image.new("RGBA", (32, 32)).save(tmp_path / "cow" / "deep" / "er" / "clear.png")
    sets = Folder().load(tmp_path)
    assert np.add(counts(sets["train"]), counts(sets["test"])).tolist() == [9, 11, 31]
    said = caplog.text
    for part in (
        "left out, as no picture (2):",
        "ant/notes.txt: no picture of a known format",
        "bee/cut.jpg: ",
        "copies of other files (1), such as bee/same.png of bee/000.png",
        "1 grey (three equal channels), such as bee/small.png",
        "1 small (enlarged), such as bee/small.png",
        "1 transparent (laid on white), such as cow/deep/er/clear.png",
        "3 classes, 32x32 pixels; train 51",
        "most cow 31, fewest ant 9 (3.4 to 1)",
        "a fifth of each class is set aside as the test split, 10 pictures",
    ):
        assert part in said, part
    assert "hidden" not in said
    assert [record.levelname for record in caplog.records if "by class" in record.message] == ["WARNING"]


def test_what_changed_is_packed_anew_and_what_did_not_is_not(tmp_path):
    root = write(tmp_path / "mine")
    before = Folder().content(root)
    pack = root / "folder-32-v1.pt"
    written = pack.stat().st_mtime_ns
    assert Folder().content(root) == before
    assert pack.stat().st_mtime_ns == written
    path = root / "bee" / "004.png"
    times = path.stat()
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 255
    replaced = Image.fromarray(pixels)
    replaced.save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as rsync and tar would set it
    changed = Folder().content(root)
    assert changed != before
    assert pack.stat().st_mtime_ns != written
    (root / "ant" / "000.png").unlink()
    assert len({before, changed, Folder().content(root)}) == 3
    shutil.rmtree(root / "ant"), shutil.rmtree(root / "bee"), shutil.rmtree(root / "cow")
    assert len(Folder().load(root)["train"]) == 23  # the originals are not missed


def test_the_content_is_of_the_pictures_and_not_of_where_they_lie(tmp_path):
    root = write(tmp_path / "mine")
    found = Folder().content(root)
    assert Folder().content(write(tmp_path / "another place")) == found
    (root / "ant" / "notes.txt").write_text("not a picture")
    (root / "ant" / "000.png").touch()
    assert Folder().content(root) == found
    assert Folder().sized(64).content(root) == found
    assert Folder(content=found).load(root)["train"].num_classes == 3
    (root / "ant").rename(root / "aphid")
    assert Folder().content(root) != found
    with pytest.raises(MissingData, match=f"these are other pictures .* than the run's \\({found}\\)"):
        Folder(content=found).load(root)


def test_the_user_cannot_be_written_beside(tmp_path, monkeypatch):
    """Where the pictures may only be read, the pack lies in the user's cache folder."""
    root = write(tmp_path / "mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("cifarlab.data.cache.writable", lambda folder: folder != root)
    assert len(Folder().load(root)["train"]) == 24
    assert list(root.glob("*.pt")) == []
    assert len(list((tmp_path / "cache").rglob("folder-32-v1.pt"))) == 1


def lay(tmp_path, layout):
    """``"train/ant:2 test/bee"``: folders with so many pictures, three unless it is said."""
    for item in layout.split():
        name, _, count = item.partition(":")
        write((tmp_path / name).parent, int(count or 3), ((tmp_path / name).name,))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("ant", r"holds one class folder \(ant\): wanted is a folder of pictures for each class, two at least"),
        ("train/ant test/ant", r"train holds one class folder \(ant\)"),
        ("train/ant train/bee test/ant test/cow", r"test/cow: train has no class cow; a class that is .* tested needs"),
        ("train/ant train/bee val/cow test/ant", r"val/cow: train has no class cow"),
        ("val/ant val/bee test/ant", r"val: there is no .*train beside it"),
        ("train/ant train/bee val/ant valid/ant", r"both would be the validation split, keep one of them"),
        ("ant bee cow:0", r"cow holds no file: give it pictures, or take it away"),
        ("ant bee:0 cow:0", r"bee holds no file: .* \(1 more are so\)"),
    ],
)
def test_folders_that_are_no_classes_are_named(tmp_path, layout, message):
    lay(tmp_path, layout)
    with pytest.raises(MissingData, match=rf"^data=folder: .*{message}"):
        Folder().load(tmp_path)


def test_a_place_without_pictures_is_named(tmp_path):
    with pytest.raises(MissingData, match=r"data\.root=.*nowhere: there is no such folder"):
        Folder().load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    write(tmp_path)
    (tmp_path / "loose").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "loose" / "a.png")
    with pytest.raises(MissingData, match=r"loose holds no class folder"):
        Folder().load(tmp_path / "loose")
    for path in (tmp_path / "bee").iterdir():
        path.write_text("no picture")
    with pytest.raises(MissingData, match=r"bee holds no picture \(bee/000.png: no picture of a known format\)"):
        Folder().load(tmp_path)


def test_a_circle_of_links_ends(tmp_path):
    write(tmp_path, 5)
    (tmp_path / "ant" / "again").symlink_to(tmp_path / "ant", target_is_directory=True)
    (tmp_path / "dog").symlink_to(tmp_path / "ant", target_is_directory=True)
    sets = Folder().load(tmp_path)
    assert np.add(counts(sets["train"]), counts(sets["test"])).tolist() == [5, 5, 5, 5]


def test_what_the_data_set_cannot_give_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"train_on=train\+valid: this data set has no validation split of its own"):
        module(tmp_path, train_on="train+valid").check()
    from cifarlab.data.digits import Digits

    with pytest.raises(ValueError, match=r"data\.image_size=64: the pictures of digits are not resized; data=folder's"):
        ImageData(Augment(), Seeds.same(0), source=Digits(), image_size=64)
