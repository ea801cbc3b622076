import hashlib
import io
import tarfile

import numpy as np
import pytest

from cifarlab.data import download
from cifarlab.data.disk import DiskFull
from cifarlab.data.download import Archive, DownloadFailed, Patience, extract, fetch, obtain

QUICK = Patience(timeout=0.3, window=0.2, slowest=100_000, attempts=2)
CONTENT = np.random.default_rng(0).bytes(250_000)


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def archive_at(mirror, *kinds, content=CONTENT, name="set.tar.gz"):
    mirror.content = content
    md5 = hashlib.md5(content).hexdigest()
    return Archive(name, md5, len(content), 1000, tuple(mirror.url(kind) for kind in kinds))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(mirror, tmp_path):
    archive = archive_at(mirror, "good")
    assert fetch(archive, tmp_path, QUICK).read_bytes() == CONTENT
    fetch(archive, tmp_path, QUICK)
    assert mirror.requests == [("good", None)]
    assert names(tmp_path) == ["set.tar.gz"]


def test_mirrors_are_asked_in_order_past_404_and_wrong_files(mirror, tmp_path):
    archive = archive_at(mirror, "absent", "page", "short", "wrong", "good", "plain")
    assert fetch(archive, tmp_path, QUICK).read_bytes() == CONTENT
    assert mirror.asked() == ["absent", "page", "short", "wrong", "good"]
    assert mirror.requests[-1] == ("good", None)  # nothing of the wrong file was kept


def test_a_refused_connection_leads_to_the_next_mirror(mirror, tmp_path):
    archive = archive_at(mirror, "good")
    closed = Archive(archive.name, archive.md5, archive.size, 0, ("http://127.0.0.1:9/file", *archive.mirrors))
    assert fetch(closed, tmp_path, QUICK).read_bytes() == CONTENT


def test_a_cut_transfer_goes_on_where_it_ended(mirror, tmp_path):
    assert fetch(archive_at(mirror, "cut"), tmp_path, QUICK).read_bytes() == CONTENT
    assert mirror.requests == [("cut", None), ("cut", "bytes=100000-"), ("cut", "bytes=200000-")]


def test_a_part_left_by_a_killed_job_is_taken_up(mirror, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT[:123_456])
    assert fetch(archive_at(mirror, "good"), tmp_path, QUICK).read_bytes() == CONTENT
    assert mirror.requests == [("good", "bytes=123456-")]


def test_a_wrong_file_that_comes_in_pieces_is_asked_for_once(mirror, tmp_path):
    with pytest.raises(DownloadFailed, match="wrong file: md5"):
        fetch(archive_at(mirror, "wrongcut"), tmp_path, QUICK)
    assert len(mirror.requests) == 3


def test_a_server_without_ranges_starts_over(mirror, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT[:123_456])
    assert fetch(archive_at(mirror, "plain"), tmp_path, QUICK).read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away_and_the_same_mirror_asked_again(mirror, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * 1000)
    assert fetch(archive_at(mirror, "good"), tmp_path, QUICK).read_bytes() == CONTENT
    assert mirror.requests == [("good", "bytes=1000-"), ("good", None)]


def test_a_part_longer_than_the_archive_is_thrown_away(mirror, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(b"x" * (len(CONTENT) + 1))
    assert fetch(archive_at(mirror, "good"), tmp_path, QUICK).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["slow", "stall"])
def test_a_slow_server_is_left_for_the_next_which_goes_on_from_there(mirror, tmp_path, kind):
    assert fetch(archive_at(mirror, kind, "good"), tmp_path, QUICK).read_bytes() == CONTENT
    assert mirror.asked() == [kind, "good"]
    assert int(mirror.requests[1][1].removeprefix("bytes=").removesuffix("-")) >= 1000


def test_a_slow_server_is_better_than_none(mirror, tmp_path):
    content = CONTENT[:3000]
    archive = archive_at(mirror, "slow", "absent", content=content)
    assert fetch(archive, tmp_path, QUICK).read_bytes() == content
    assert mirror.asked() == ["slow", "absent", "slow"]


def test_a_file_with_the_wrong_checksum_is_never_opened(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(download.tarfile, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(DownloadFailed, match=r"wrong file: md5 .*, wanted"):
        obtain(archive_at(mirror, "wrong"), tmp_path, tmp_path, QUICK)
    assert names(tmp_path) == []


def test_the_failure_names_each_mirror_and_its_reason(mirror, tmp_path):
    archive = archive_at(mirror, "absent", "wrong", "short", "page")
    with pytest.raises(DownloadFailed) as failure:
        fetch(archive, tmp_path, QUICK)
    absent, wrong, short, page = str(failure.value).splitlines()
    assert "/absent/file: HTTP 404" in absent
    assert archive.md5 in wrong
    assert "249,999 bytes, wanted 250,000" in short
    assert "web page" in page


def test_no_room_is_said_before_the_transfer(mirror, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr("cifarlab.data.disk.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DiskFull, match=r"needs 251,000 bytes in .*10,000 are free"):
        fetch(archive_at(mirror, "good"), tmp_path, QUICK)
    assert mirror.requests == []


def test_a_disk_that_fills_up_says_what_is_needed_and_keeps_the_part(mirror, tmp_path, files_of_at_most):
    archive = archive_at(mirror, "good", "plain")
    with files_of_at_most(100_000), pytest.raises(DiskFull, match="needs 251,000 bytes"):
        fetch(archive, tmp_path, QUICK)
    assert mirror.asked() == ["good"]  # another mirror would not help
    assert fetch(archive, tmp_path, QUICK).read_bytes() == CONTENT
    assert mirror.requests[1][1] is not None


def test_obtain_unpacks_and_removes_what_it_fetched(mirror, tmp_path):
    archive = archive_at(mirror, "good", content=tar_of({"folder/a": b"1", "folder/b": b"2"}))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"damaged")
    (tmp_path / "folder" / "mine").write_bytes(b"3")
    obtain(archive, tmp_path, tmp_path, QUICK)
    assert {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()} == {
        "a": b"1",
        "b": b"2",
        "mine": b"3",
    }
    assert names(tmp_path) == ["folder"]


def test_obtain_keeps_an_archive_that_was_there(mirror, tmp_path):
    archive = archive_at(mirror, "good", content=tar_of({"folder/a": b"1"}))
    (tmp_path / archive.name).write_bytes(mirror.content)
    obtain(archive, tmp_path, tmp_path, QUICK)
    assert names(tmp_path) == ["folder", "set.tar.gz"]
    assert mirror.requests == []


@pytest.mark.parametrize("name", ["../outside", "folder/../../outside", "/outside/absolute"])
def test_a_member_outside_the_folder_is_not_written_there(tmp_path, name):
    path, into = tmp_path / "evil.tar.gz", tmp_path / "data"
    path.write_bytes(tar_of({"good": b"1", name: b"2"}))
    if name.startswith("/"):
        extract(path, into, 10)  # The leading slash is taken off: it lands inside.
        assert (into / "outside" / "absolute").read_bytes() == b"2"
    else:
        with pytest.raises(tarfile.OutsideDestinationError):
            extract(path, into, 10)
        assert names(into) == []
    assert names(tmp_path) == ["data", "evil.tar.gz"]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../etc"
        tar.addfile(info)
    with pytest.raises(tarfile.LinkOutsideDestinationError):
        extract(path, tmp_path / "data", 10)


def test_what_a_killed_extraction_left_is_removed(tmp_path):
    path, into = tmp_path / "set.tar.gz", tmp_path / "data"
    path.write_bytes(tar_of({"folder/a": b"1"}))
    (into / ".set.tar.gz-abc").mkdir(parents=True)
    extract(path, into, 10)
    assert names(into) == ["folder"]
