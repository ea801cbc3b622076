"""A YAML file as a config, or one line about what is wrong with it and where."""

from __future__ import annotations

import io
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab.job.configure import ConfigError

LARGEST = 1_000_000  # bytes of a file, and values of its mapping once each alias is written out


def read_text(path: Path) -> str:
    """A file's text; a byte-order mark, as some editors put before it, is none of it.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8; the file is named, and the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from None
    if len(content) > LARGEST:
        raise ConfigError([f"{path}: {len(content):,} bytes are no configuration; allowed: at most {LARGEST:,}"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            [f"{path}, line {line}: the byte 0x{content[error.start]:02x} is no UTF-8; save the file as UTF-8"]
        ) from None


def parse_yaml(text: str, path: Path) -> DictConfig:
    """A mapping from the text of a file.

    Args:
        text: of the file.
        path: of the file, for messages.

    Raises:
        ConfigError: it is no YAML, or no mapping; the file is named, and the line where there is one to name.
    """
    try:
        if "&" in text and (size := _size(yaml.compose(text, yaml.SafeLoader))) > LARGEST:
            raise ConfigError([f"{path}: its aliases stand for {size:,} values; allowed: at most {LARGEST:,}"])
        config = OmegaConf.load(io.StringIO(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError([f"{path}{line}: no YAML ({error.problem or error.context})"]) from None
    except yaml.reader.ReaderError as error:
        lines = text[: error.position].count("\n") + 1
        raise ConfigError([f"{path}, line {lines}: no YAML ({error.reason})"]) from None
    except RecursionError:
        raise ConfigError([f"{path}: nested too deeply"]) from None
    except (OmegaConfBaseException, ValueError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError([f"{path}: {str(error).splitlines()[0]}"]) from None
    if not isinstance(config, DictConfig):
        raise ConfigError([f"{path}: a mapping is needed"])
    return config


def read_yaml(path: Path) -> DictConfig:
    """A file's mapping.

    Raises:
        ConfigError: as in `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path), path)


def _size(node: yaml.Node | None, known: dict[int, int] | None = None) -> int:
    """Values below a node, those behind an alias counted wherever it stands."""
    known = {} if known is None else known
    if node is None or id(node) in known:
        return known.get(id(node), 0)
    known[id(node)] = 0  # an alias of itself
    below = node.value if isinstance(node.value, list) else []
    inner = [part for item in below for part in (item if isinstance(item, tuple) else (item,))]
    known[id(node)] = 1 + sum(_size(part, known) for part in inner)
    return known[id(node)]
