import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from cifarlab.data import cache
from cifarlab.data.cifar import CIFAR10, CIFAR100, WrongFile, read_pickle
from cifarlab.data.download import Archive
from cifarlab.data.sources import MissingData


def original(content):
    """A pickle as in the original files: numpy's reconstructor by its old name, no codec for bytes."""
    return pickle.dumps(content, protocol=3).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def tiny_files():
    """CIFAR-10's files with 20 pictures each."""
    generator = np.random.default_rng(0)
    names = [*CIFAR10.files["train"], "test_batch"]
    batch = {name: generator.integers(0, 256, (20, 3072), dtype=np.uint8) for name in names}
    files = {name: original({"labels": [i % 10 for i in range(20)], "data": batch[name]}) for name in names}
    files["batches.meta"] = original({"label_names": [f"class {i}" for i in range(10)]})
    return files, batch


def tar_of(files, folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_tiny(root):
    folder = root / CIFAR10.folder
    folder.mkdir(parents=True)
    for name, content in tiny_files()[0].items():
        (folder / name).write_bytes(content)
    return folder


def source_of(files, archive):
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    return type("Tiny", (CIFAR10,), {"md5": sums, "archive": archive})()


@pytest.fixture
def tiny():
    return source_of(tiny_files()[0], Archive("set.tar.gz", "0" * 32, 1000, 1000, ("http://127.0.0.1:9/set.tar.gz",)))


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "cifarlab"


def test_pictures_labels_and_names_are_those_of_the_files(tmp_path, tiny):
    write_tiny(tmp_path)
    sets = tiny.load(tmp_path)
    batch = tiny_files()[1]
    rows = np.concatenate([batch[f"data_batch_{number}"] for number in range(1, 6)])
    assert sets.keys() == {"train", "test"}
    assert np.array_equal(sets["train"].images.numpy(), rows.reshape(-1, 3, 32, 32))
    assert np.array_equal(sets["test"].images.numpy(), batch["test_batch"].reshape(-1, 3, 32, 32))
    assert sets["train"].labels.tolist() == [i % 10 for i in range(20)] * 5
    assert sets["train"].labels.dtype == torch.int64
    assert sets["test"].classes[3] == "class 3"


def test_a_wrong_file_is_never_unpickled(tmp_path, monkeypatch):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(WrongFile, match=r"has md5 .* wanted 0000"):
        read_pickle(path, "0" * 32)
    with pytest.raises(pickle.UnpicklingError, match="mkdir has no place in a CIFAR file"):
        read_pickle(path, hashlib.md5(path.read_bytes()).hexdigest())
    assert not (tmp_path / "harm").exists()


def test_the_error_names_files_folder_checksums_and_the_way_on(tmp_path, tiny):
    folder = write_tiny(tmp_path)
    (folder / "data_batch_2").unlink()
    (folder / "data_batch_3").write_bytes(b"damaged")
    with pytest.raises(MissingData) as error:
        tiny.prepare(tmp_path)
    message = str(error.value)
    assert f"{folder / 'data_batch_2'}: missing, wanted md5 {tiny.md5['data_batch_2']}" in message
    damaged = hashlib.md5(b"damaged").hexdigest()
    assert f"{folder / 'data_batch_3'}: md5 {damaged}, wanted md5 {tiny.md5['data_batch_3']}" in message
    assert "data_batch_4" not in message
    assert "set.tar.gz" in message
    assert "http://127.0.0.1:9/set.tar.gz: " in message
    assert "data=digits" in message


def test_the_originals_are_not_needed_once_packed(tmp_path, tiny):
    folder = write_tiny(tmp_path)
    before = tiny.load(tmp_path)["train"].images.clone()
    for path in folder.iterdir():
        path.unlink()
    assert torch.equal(tiny.load(tmp_path)["train"].images, before)


@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_a_damaged_cache_is_packed_again(tmp_path, tiny, damage):
    write_tiny(tmp_path)
    before = tiny.load(tmp_path)["train"].images.clone()
    path = tmp_path / "cifar10-v1.pt"
    whole = path.read_bytes()
    path.unlink()  # a new file: the maps of the old one stay good
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "other": b"text" * 1000}[damage])
    assert torch.equal(tiny.load(tmp_path)["train"].images, before)
    assert len(path.read_bytes()) == len(whole)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_code_in_a_cache_is_run(tmp_path, tiny):
    write_tiny(tmp_path)
    tiny.prepare(tmp_path)
    path, ran = tmp_path / "cifar10-v1.pt", tmp_path / "ran"
    content = torch.load(path, weights_only=True)
    path.unlink()
    torch.save(content | {"fingerprint": Payload(ran)}, path)
    assert cache.read(path) is None
    assert not ran.exists()
    torch.load(path, weights_only=False)  # this is what it would have done
    assert ran.exists()


def test_a_cache_that_cannot_lie_beside_the_data_lies_with_the_user(tmp_path, tiny, user_cache, monkeypatch):
    write_tiny(tmp_path)
    monkeypatch.setattr(cache, "writable", lambda folder: folder != tmp_path)
    (user_cache / cache.folders(tmp_path)[1].name).mkdir(parents=True)
    tiny.prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CIFAR10.folder]
    assert len(list(user_cache.glob("*/cifar10-v1.pt"))) == 1
    assert len(tiny.load(tmp_path)["train"]) == 100


def test_a_failed_packing_leaves_the_old_file(tmp_path, tiny, monkeypatch):
    write_tiny(tmp_path)
    tiny.prepare(tmp_path)
    path = tmp_path / "cifar10-v1.pt"
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.write(path, cache.Packed(tiny.read(tmp_path), ""))
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


PREPARE = """
import json, sys
from pathlib import Path
from cifarlab.data.cifar import CIFAR10
from cifarlab.data.download import Archive
given = json.loads(sys.argv[1])
archive = Archive(**given["archive"])
source = type("Tiny", (CIFAR10,), {"md5": given["md5"], "archive": archive})()
print("ready", flush=True)
sys.stdin.readline()
source.prepare(Path(given["root"]))
print(len(source.load(Path(given["root"]))["train"]))
"""


def test_two_processes_download_once(tmp_path, mirror):
    files, _ = tiny_files()
    mirror.content = tar_of(files, CIFAR10.folder)
    sum_ = hashlib.md5(mirror.content).hexdigest()
    archive = {"name": "set.tar.gz", "md5": sum_, "size": len(mirror.content), "unpacked": 400_000}
    given = {
        "archive": archive | {"mirrors": [mirror.url("absent"), mirror.url("cut")]},
        "md5": source_of(files, None).md5,
        "root": str(tmp_path / "new" / "root"),
    }
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", PREPARE, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    assert [job.communicate(timeout=60)[0] for job in jobs] == ["100\n", "100\n"]
    assert [job.returncode for job in jobs] == [0, 0]
    starts = [wanted for kind, wanted in mirror.requests if kind == "cut"]
    assert starts == [None, *(f"bytes={place}-" for place in range(100_000, len(mirror.content), 100_000))]
    assert mirror.asked().count("absent") == 1


def test_the_published_checksums_are_torchvisions():
    published = torchvision.datasets
    for ours, theirs in ((CIFAR10, published.CIFAR10), (CIFAR100, published.CIFAR100)):
        listed = dict([*theirs.train_list, *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])])
        assert ours.md5 == listed
        assert ours.archive.md5 == theirs.tgz_md5
        assert ours.archive.name == theirs.filename
        assert ours.folder == theirs.base_folder


@pytest.fixture(scope="module", params=[CIFAR10, CIFAR100])
def real(tmp_path_factory, request):
    """A packed data set in a folder of its own with a link to the real originals."""
    source, root = request.param(), Path(os.environ.get("CIFARLAB_DATA", "data"))
    if not (root / source.folder).is_dir():
        pytest.skip(f"{source.name} is not under CIFARLAB_DATA")
    own = tmp_path_factory.mktemp(source.name)
    (own / source.folder).symlink_to((root / source.folder).absolute())
    source.prepare(own)
    return source, own


@pytest.mark.realdata
def test_a_real_packed_set_opens_quickly(real):
    source, root = real
    started = time.perf_counter()
    source.load(root)
    assert time.perf_counter() - started < 0.3  # measured: 0.002 s


@pytest.mark.realdata
def test_real_statistics_and_counts(real):
    source, root = real
    sets = source.load(root)
    values = np.arange(256) / 255
    for channel in range(3):
        counts = sets["train"].images[:, channel].flatten().bincount(minlength=256).double().numpy()
        mean = (counts * values).sum() / counts.sum()
        deviation = np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())
        assert mean == pytest.approx(source.mean[channel], abs=6e-5)
        assert deviation == pytest.approx(source.std[channel], abs=6e-5)
    for name, size in (("train", 50_000), ("test", 10_000)):
        classes = sets[name].num_classes
        assert sets[name].labels.bincount().tolist() == [size // classes] * classes


@pytest.mark.realdata
def test_real_pictures_are_torchvisions(real):
    source, root = real
    theirs = getattr(torchvision.datasets, type(source).__name__)(str(root), train=False)
    ours = source.load(root)["test"]
    assert np.array_equal(ours.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets
    assert list(ours.classes) == theirs.classes


@pytest.mark.realdata
def test_real_coarse_labels_group_five_fine_ones(real):
    source, root = real
    train = source.load(root)["train"]
    if source.name != "cifar100":
        assert train.extra == {}
        return
    pairs = torch.stack([train.extra["coarse"], train.labels]).unique(dim=1)
    assert pairs[0].bincount().tolist() == [5] * 20
