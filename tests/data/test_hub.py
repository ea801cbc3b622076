import hashlib
import io
import logging
import os
import pickle
import re
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifarlab.data import cache, cifar
from cifarlab.data.cifar import CIFAR10, CIFAR100, read_pickle
from cifarlab.data.disk import DiskFull
from cifarlab.data.download import Archive
from cifarlab.data.hub import unordered_sum
from cifarlab.data.sources import MissingData

SIZE = 20  # pictures of an original file


class FakeHub:
    """Serves files as the hub does. The first ``cuts`` answers end after half of what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.cuts = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *arguments: object) -> None:
                """Silence."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append((handler.command, handler.path.rpartition("/")[2].partition("-")[0], wanted))
        content = self.files.get(handler.path)
        if content is None:
            handler.send_response(404)
            handler.send_header("X-Error-Code", "EntryNotFound")
            handler.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        handler.send_header("X-Repo-Commit", "0" * 40)
        handler.send_header("Content-Length", str(len(content) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if handler.command == "GET":
            body = content[start:]
            if self.cuts:
                self.cuts -= 1
                body = body[: len(body) // 2]
            handler.wfile.write(body)

    def put(self, source, split, content) -> None:
        self.files[f"/datasets/{source.hub.repo}/resolve/main/{source.hub.folder}/{split}-00000-of-00001.parquet"] = (
            content
        )

    def transfers(self):
        return [(split, wanted) for command, split, wanted in self.requests if command == "GET"]


@pytest.fixture
def hub(monkeypatch):
    server = FakeHub()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server.server_port}")
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(autouse=True)
def quiet_start(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user")))
    cifar._warn_of_order.cache_clear()


def records_of(kind):
    """By split the records of each original file of a tiny CIFAR."""
    generator = np.random.default_rng(0)
    labels = [np.arange(SIZE) % 10 // 5, np.arange(SIZE) % 10][-len(kind.hub.labels) :]

    def one_file():
        return np.column_stack([*labels, generator.integers(0, 256, (SIZE, 3072))]).astype(np.uint8)

    return {split: [one_file() for _ in kind.files[split]] for split in ("train", "test")}


def tiny(kind, archive=None):
    records = records_of(kind)
    own = replace(
        kind.hub,
        blocks={split: tuple(hashlib.sha256(part).hexdigest() for part in parts) for split, parts in records.items()},
        unordered={split: unordered_sum(np.concatenate(parts)) for split, parts in records.items()},
    )
    nowhere = Archive("set.tar.gz", "0" * 32, 1000, 1000, ("http://127.0.0.1:9/set.tar.gz",))
    return type("Tiny", (kind,), {"hub": own, "archive": archive or nowhere})()


def png_of(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def parquet_of(source, records, to_file=png_of):
    """A parquet file as the hub has it."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` (pyarrow) is not installed")
    import pyarrow

    width = len(source.hub.labels)
    columns = {"img": [{"bytes": to_file(record[width:]), "path": None} for record in records]}
    columns |= {name: records[:, place].astype(np.int64) for place, name in enumerate(source.hub.labels.values())}
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def offer(hub, source, records):
    for split, rows in records.items():
        hub.put(source, split, parquet_of(source, rows))


def whole(records):
    return {split: np.concatenate(parts) for split, parts in records.items()}


def pixels(images):
    return images.images.contiguous().view(len(images), -1).numpy()


def tried(error):
    """The lines of the message that tell what was tried."""
    return str(error).partition("Tried:\n")[2].partition("\nPut the folder")[0].splitlines()


def warnings_in(caplog):
    """What was said that is more than news, which other tests may have turned on."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 2, 1, 4, 0)])
def test_the_original_order_is_restored_file_by_file(hub, tmp_path, caplog, order):
    source, records = tiny(CIFAR10), records_of(CIFAR10)
    offer(
        hub, source, {"train": np.concatenate([records["train"][place] for place in order]), "test": records["test"][0]}
    )
    sets = source.load(tmp_path)
    for split, rows in whole(records).items():
        assert np.array_equal(pixels(sets[split]), rows[:, 1:])
        assert sets[split].labels.tolist() == rows[:, 0].tolist()
        assert sets[split].labels.dtype == torch.int64
    assert sets["train"].classes[6] == "frog"
    assert cache.read(tmp_path / "cifar10-v1.pt").fingerprint == source.fingerprint(tmp_path)
    assert warnings_in(caplog) == []


def test_cifar100_has_both_labels(hub, tmp_path):
    source, records = tiny(CIFAR100), whole(records_of(CIFAR100))
    offer(hub, source, records)
    train = source.load(tmp_path)["train"]
    assert np.array_equal(pixels(train), records["train"][:, 2:])
    assert train.extra["coarse"].tolist() == records["train"][:, 0].tolist()
    assert train.labels.tolist() == records["train"][:, 1].tolist()
    assert train.num_classes == 100
    source.load(tmp_path)
    assert hub.transfers() == [("train", None), ("test", None)]


def test_another_order_is_said_once_and_gives_way_to_the_original_files(hub, tmp_path, caplog):
    source, records = tiny(CIFAR10), whole(records_of(CIFAR10))
    mixed = np.random.default_rng(1).permutation(len(records["train"]))
    offer(hub, source, records | {"train": records["train"][mixed]})
    sets = source.load(tmp_path)
    assert np.array_equal(pixels(sets["train"]), records["train"][mixed, 1:])
    assert sets["train"].labels.tolist() == records["train"][mixed, 0].tolist()
    assert cache.read(tmp_path / "cifar10-v1.pt").fingerprint == cifar.HUB_ORDER
    source.load(tmp_path)
    assert len(warnings_in(caplog)) == 1
    assert "another order" in caplog.text

    folder = tmp_path / source.folder
    folder.mkdir()
    for place, name in enumerate(source.files["train"]):
        write_original(folder / name, records["train"][place * SIZE : (place + 1) * SIZE])
    write_original(folder / "test_batch", records["test"])
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(source.classes)}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    with_files = type("Tiny", (type(source),), {"md5": sums})()
    assert np.array_equal(pixels(with_files.load(tmp_path)["train"]), records["train"][:, 1:])
    assert cache.read(tmp_path / "cifar10-v1.pt").fingerprint == with_files.fingerprint(tmp_path)


def write_original(path, records):
    content = pickle.dumps({"labels": records[:, 0].tolist(), "data": records[:, 1:].copy()}, protocol=3)
    path.write_bytes(content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


@pytest.mark.parametrize("place", [0, 1000])
def test_a_single_wrong_label_or_pixel_is_refused(hub, tmp_path, place):
    source, records = tiny(CIFAR10), whole(records_of(CIFAR10))
    records["train"][7, place] ^= 1
    offer(hub, source, records)
    with pytest.raises(MissingData, match=r"uoft-cs/cifar10: damaged, remove /.*: other pictures"):
        source.load(tmp_path)
    assert not (tmp_path / "cifar10-v1.pt").exists()


@pytest.mark.parametrize("kind", ["no parquet", "no column", "no picture", "another size", "no rows"])
def test_a_damaged_file_is_refused_and_fetched_again_once_removed(hub, tmp_path, kind):
    source, records = tiny(CIFAR10), whole(records_of(CIFAR10))
    offer(hub, source, records)
    large = png_of(np.zeros(3072, np.uint8))
    damaged = {
        "no parquet": lambda: b"<html>busy</html>",
        "no column": lambda: parquet_of(tiny(CIFAR100), np.column_stack([records["train"][:, 0], records["train"]])),
        "no picture": lambda: parquet_of(source, records["train"], lambda _: b"text"),
        "another size": lambda: parquet_of(source, records["train"], lambda _: resized(large)),
        "no rows": lambda: parquet_of(source, records["train"][:0]),
    }
    hub.put(source, "train", damaged[kind]())
    with pytest.raises(MissingData) as error:
        source.load(tmp_path)
    reason = tried(error.value)[-1]
    Path(re.search(r"damaged, remove (/[^:]*): ", reason)[1]).unlink()
    hub.put(source, "train", parquet_of(source, records["train"]))
    assert np.array_equal(pixels(source.load(tmp_path)["train"]), records["train"][:, 1:])


def resized(content):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).resize((16, 16)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_cut_transfer_goes_on_where_it_ended(hub, tmp_path, monkeypatch):
    source, records = tiny(CIFAR10), whole(records_of(CIFAR10))
    offer(hub, source, records)
    hub.cuts = 1
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # what is kept are whole chunks of 10 MB
    assert len(source.load(tmp_path)["train"]) == 5 * SIZE
    size = len(next(content for path, content in hub.files.items() if "train" in path))
    assert hub.transfers() == [("train", None), ("train", f"bytes={size // 2000 * 1000}-"), ("test", None)]


def test_what_the_hubs_cache_holds_needs_no_network(hub, tmp_path, monkeypatch):
    source, records = tiny(CIFAR10), whole(records_of(CIFAR10))
    offer(hub, source, records)
    source.load(tmp_path / "first")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert np.array_equal(pixels(source.load(tmp_path / "second")["test"]), records["test"][:, 1:])


def test_a_hub_out_of_reach_is_one_more_mirror_tried(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra `parquet` (pyarrow) is not installed")
    started = time.perf_counter()
    with pytest.raises(MissingData) as error:
        tiny(CIFAR10).load(tmp_path)
    assert time.perf_counter() - started < 5  # the client's own retries take 20 s
    assert "  Hugging Face data set uoft-cs/cifar10, plain_text/train-00000-of-00001.parquet: " in str(error.value)
    assert "data=digits" in str(error.value)


def test_a_file_the_hub_lacks_is_named_with_the_answer(hub, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra `parquet` (pyarrow) is not installed")
    with pytest.raises(MissingData, match=r"cifar100/train-00000-of-00001.parquet: .*404"):
        tiny(CIFAR100).load(tmp_path)
    assert hub.transfers() == []


def test_without_pyarrow_the_hub_is_not_asked_and_the_message_says_what_to_install(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingData, match=r"pyarrow is missing: pip install -e '\.\[parquet\]' would allow it"):
        tiny(CIFAR10).load(tmp_path)
    assert hub.requests == []


def test_no_room_is_said_before_the_transfer(hub, tmp_path, monkeypatch):
    source = tiny(CIFAR10)
    offer(hub, source, whole(records_of(CIFAR10)))
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr("cifarlab.data.disk.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DiskFull, match=r"train-.*parquet needs [\d,]+ bytes in .*10,000 are free.* HF_HOME"):
        source.load(tmp_path)
    assert hub.transfers() == []


def test_a_disk_that_fills_up_is_named(hub, tmp_path, files_of_at_most):
    source = tiny(CIFAR10)
    offer(hub, source, whole(records_of(CIFAR10)))
    with files_of_at_most(10_000), pytest.raises(DiskFull, match=r"(?i)file too large: .*parquet needs .* HF_HOME"):
        source.load(tmp_path)


@pytest.mark.parametrize("reachable", [True, False])
def test_copies_come_first_then_the_hub_and_the_throttled_servers_last(hub, mirror, tmp_path, monkeypatch, reachable):
    monkeypatch.setattr(cifar, "_ORIGINAL", (mirror.url("stop").removesuffix("stop/file") + "page",))
    archive = Archive("set.tar.gz", "0" * 32, 1000, 1000, (mirror.url("page"), mirror.url("absent")))
    source = tiny(CIFAR100, archive)
    offer(hub, source, whole(records_of(CIFAR100)))
    if reachable:
        assert len(source.load(tmp_path)["train"]) == SIZE
    else:
        hub.files.clear()
        with pytest.raises(MissingData) as error:
            source.load(tmp_path)
        first, second, third = tried(error.value)
        assert "/absent/" in first
        assert "uoft-cs/cifar100" in second
        assert "/page/" in third
    assert mirror.asked() == (["absent"] if reachable else ["absent", "page"])


@pytest.mark.realdata
@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
def test_the_sums_and_names_are_those_of_the_real_files(kind):
    folder = Path(os.environ.get("CIFARLAB_DATA", "data")) / kind.folder
    if not folder.is_dir():
        pytest.skip(f"{kind.name} is not under CIFARLAB_DATA")
    for split, names in kind.files.items():
        parts = [read_pickle(folder / name, kind.md5[name]) for name in names]
        keys = [kind.labels[name] for name in kind.hub.labels]
        records = [np.column_stack([*(np.array(part[key], np.uint8) for key in keys), part["data"]]) for part in parts]
        assert tuple(hashlib.sha256(part).hexdigest() for part in records) == kind.hub.blocks[split]
        assert unordered_sum(np.concatenate(records)) == kind.hub.unordered[split]
    file, key = kind.meta
    assert tuple(read_pickle(folder / file, kind.md5[file])[key]) == kind.classes
