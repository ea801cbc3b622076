"""A YAML file as a config, or one line about what is wrong with it and where."""

from __future__ import annotations

import io
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab import reading
from cifarlab.job.configure import ConfigError
from cifarlab.reading import tree_of_yaml


def read_text(path: Path, *, follow: bool = True) -> str:
    """A file's text; a byte-order mark, as some editors put before it, is none of it.

    Args:
        path: of the file.
        follow: it may be a link, as it may in a folder of the user's own.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8; the file is named, and the line.
    """
    try:
        return reading.read_text(path, follow=follow)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from None
    except reading.TooLarge as error:
        size = f"{error.args[1]:,} bytes are no configuration; allowed: at most {reading.MOST_YAML:,}"
        raise ConfigError([f"{path}: {size}"]) from None
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def parse_yaml(text: str, path: Path) -> DictConfig:
    """A mapping from the text of a file.

    Args:
        text: of the file.
        path: of the file, for messages.

    Raises:
        ConfigError: it is no YAML, or no mapping; the file is named, and the line where there is one to name.
    """
    try:
        if "&" in text:
            tree_of_yaml(text)
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
        raise ConfigError([f"{path}: {str(error).splitlines()[0]}"]) from None
    if not isinstance(config, DictConfig):
        raise ConfigError([f"{path}: a mapping is needed"])
    return config


def read_yaml(path: Path) -> DictConfig:
    """The mapping in a file of a run directory, which may be a stranger's.

    Raises:
        ConfigError: as in `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path, follow=False), path)
