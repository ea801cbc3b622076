"""CIFAR from the Hugging Face hub: parquet files of PNG pictures, taken only if they are the original pictures."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarlab.data import png
from cifarlab.data.disk import DiskFull, room_for, writable
from cifarlab.data.download import DownloadFailed

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds until the hub's first answer


@dataclass(frozen=True)
class HubSet:
    """A data set on the hub, and the sums that tell whether its pictures are the original ones.

    A record is a picture as in the binary version of CIFAR: a byte for each label, then 1024 bytes each of red, green
    and blue, row by row.

    Attributes:
        repo: the data set's name on the hub.
        folder: where in it the files ``SPLIT-00000-of-00001.parquet`` lie.
        labels: their columns of labels by our names, in the order of a record.
        blocks: by split, the sha256 of the records of each original file (for CIFAR-10 that of ``data_batch_1.bin`` and
            so on). All files of a split have the same number of records.
        unordered: by split, the sha256 of the sorted sha256 of all records.
    """

    repo: str
    folder: str
    labels: Mapping[str, str]
    blocks: Mapping[str, tuple[str, ...]]
    unordered: Mapping[str, str]


@dataclass(frozen=True)
class Records:
    """The pictures of the original files.

    Attributes:
        splits: by split, uint8 ``(N, labels + 3072)``.
        original_order: whether they are in the order of the original files; else they are in the hub's.
    """

    splits: dict[str, np.ndarray]
    original_order: bool


def obtain(hub: HubSet) -> Records:
    """The records of all splits, from files that stay in the hub's own cache folder (``HF_HOME``).

    What is in that folder is not asked for again, so it also works offline. The hub is ``HF_ENDPOINT``, else
    huggingface.co.

    Raises:
        DownloadFailed: the hub did not give the files, they hold something else, or pyarrow is missing.
        DiskFull: the cache folder has no room for them.
    """
    where = f"Hugging Face data set {hub.repo}"
    try:
        import pyarrow.parquet  # noqa: F401  (an extra of 170 MB that nothing else needs)
    except ImportError as error:
        advice = "pip install -e '.[parquet]' would allow it"
        raise DownloadFailed(f"  {where}: not asked, pyarrow is missing: {advice}") from error
    splits, in_order = {}, True
    for split, blocks in hub.blocks.items():
        name = f"{hub.folder}/{split}-00000-of-00001.parquet"
        try:
            path = _download(hub.repo, name)
        except DiskFull:
            raise
        except Exception as error:  # Those of the hub's HTTP library go through, and that differs by version.
            raise DownloadFailed(f"  {where}, {name}: {_first_line(error)}") from error
        try:
            records = decode(path, tuple(hub.labels.values()))
        except Exception as error:  # Whatever pyarrow and Pillow make of a damaged file.
            raise DownloadFailed(f"  {where}: damaged, remove {path.resolve()}: {_first_line(error)}") from error
        ordered = arranged(records, blocks)
        if ordered is None and unordered_sum(records) != hub.unordered[split]:
            raise DownloadFailed(f"  {where}: damaged, remove {path.resolve()}: other pictures than the original ones")
        splits[split] = records if ordered is None else ordered
        in_order = in_order and ordered is not None
    return Records(splits, in_order)


def _download(repo: str, name: str) -> Path:
    """The file in the hub's cache folder, where it is put unless it is there already."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, name, repo_type="dataset")
    if isinstance(cached, str):
        return Path(cached)
    folder = Path(constants.HF_HUB_CACHE)
    if not writable(folder):
        raise PermissionError(f"{folder} cannot be written, name another folder with HF_HOME")
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    url = hf_hub_url(repo, name, repo_type="dataset", endpoint=endpoint)
    log.info("fetching %s", url)
    # A question of its own: hf_hub_download would repeat it for minutes where there is no network. No token: the data
    # is public, and an expired one would be refused.
    size = get_hf_file_metadata(url, token=False, timeout=TIMEOUT).size
    with room_for(size or 0, folder, name, setting="the environment variable HF_HOME"):
        return Path(hf_hub_download(repo, name, repo_type="dataset", endpoint=endpoint, token=False))


def decode(path: Path, labels: tuple[str, ...]) -> np.ndarray:
    """The records in a parquet file with PNG files in the column ``img.bytes``: uint8 ``(N, labels + pixels)``."""
    from pyarrow import parquet

    parts = []
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(1000, columns=["img.bytes", *labels]):
            files = [io.BytesIO(content or b"") for content in batch.column("img").field("bytes").to_pylist()]
            pictures = png.decode(files).transpose(0, 3, 1, 2).reshape(len(files), -1)
            vectors = [batch.column(name).to_numpy(zero_copy_only=False) for name in labels]
            parts.append(np.column_stack([*vectors, pictures]).astype(np.uint8))
    return np.concatenate(parts)


def arranged(records: np.ndarray, blocks: tuple[str, ...]) -> np.ndarray | None:
    """The records in the order of the original files, if each file is there in one piece, else None.

    The hub's files were written in the order of the members of the tar archive, and CIFAR-10's are not in the order of
    their numbers there.
    """
    found = {hashlib.sha256(part.tobytes()).hexdigest(): part for part in np.array_split(records, len(blocks))}
    if found.keys() != set(blocks):
        return None
    return np.concatenate([found[block] for block in blocks])


def unordered_sum(records: np.ndarray) -> str:
    """A sum that does not depend on the order of the records."""
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(record).digest() for record in records))).hexdigest()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
