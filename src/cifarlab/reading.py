"""Files that may come from anybody: read within limits and as what they must be, or named.

Links are not followed and pipes not waited for. A fault is one line, in which nothing that the file holds can move a
terminal's cursor.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Container, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

MOST_BYTES = 256 * 2**20  # a ledger of 100,000 cells has 60 MB
MOST_DIGITS = 40  # of a number; what is longer is none that a run could have measured
MOST_YAML = 1_000_000  # bytes of a file, and values in it once each alias is written out
LONGEST_PLACE = 100  # characters of where in a file the fault lies
# Control characters but line feed and tab, marks that turn the direction of text, and halves of characters.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_ONE_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_LONG = b"0" * (MOST_DIGITS + 1)

Kind = TypeVar("Kind")


class TooLarge(ValueError):
    """A file has more bytes than are read. Arguments: the message, and how many it has."""

    def __str__(self) -> str:
        return str(self.args[0])


def visible(text: str) -> str:
    """Text with an escape for each character that would not be seen but do something: ``\\x1b``, ``\\u202e``."""
    return UNSEEN.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path is a link to a place that lies outside of a folder."""
    return path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())


def link_out(path: Path, folder: Path) -> ValueError:
    """The refusal of a link."""
    return ValueError(visible(f"{path} is a link out of {folder}; put what it leads to in its place, or remove it"))


def refuse_what_leads_out(folder: Path, *, without: Container[str] = ()) -> None:
    """Look through a folder that may be a stranger's before something in it is opened or written.

    Args:
        folder: of a run or a sweep; it may itself be a link, and there may be none.
        without: names in it of folders that are not looked through.

    Raises:
        ValueError: a link in it leads out of it, or something is a pipe or a device; the message names the first.
        OSError: it cannot be looked through.
    """
    waiting = [folder] if folder.is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_symlink():
                    if leads_out(path, folder):
                        raise link_out(path, folder)
                elif entry.is_dir():
                    waiting += [path] if entry.name not in without else []
                elif not entry.is_file():
                    raise ValueError(visible(f"{path} is neither a file nor a folder; remove it"))


def read_bytes(path: Path, most: int = MOST_BYTES, *, follow: bool = False) -> bytes:
    """What a regular file holds.

    Args:
        path: of the file.
        most: bytes.
        follow: it may be a link, as it may in a folder of the user's own.

    Raises:
        OSError: there is no file, or it cannot be read.
        ValueError: it is no regular file (a pipe, a device, a folder, a link), or too large; the message names it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise damaged(path, "it is a link") from None
        raise
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise damaged(path, "it is no regular file")
        if found.st_size > most:
            said = damaged(path, f"{found.st_size:,} bytes, at most {most:,} are read")
            raise TooLarge(said, found.st_size)
        content = os.read(handle, found.st_size)
        while len(content) < found.st_size and (part := os.read(handle, found.st_size - len(content))):
            content += part  # a disk across a network gives less at once, as do more than two gigabytes
        return content
    finally:
        os.close(handle)


def read_text(path: Path, most: int = MOST_YAML, *, follow: bool = False) -> str:
    """A file's text; a byte-order mark, as some editors put before it, is none of it.

    Raises:
        OSError: as in `read_bytes`.
        ValueError: likewise, or it is not UTF-8; the file is named, and the line.
    """
    content = read_bytes(path, most, follow=follow)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        raise ValueError(
            visible(f"{path}, line {line}: the byte 0x{byte:02x} is no UTF-8; save the file as UTF-8")
        ) from None


def read_json(path: Path, most: int = MOST_BYTES, *, shown: bool = False) -> dict[str, Any]:
    """The mapping in a file.

    Args:
        path: of the file.
        most: bytes.
        shown: its texts are to be shown, and made `visible`.

    Raises:
        OSError: there is no file, or it cannot be read.
        ValueError: it is no JSON, no mapping, no regular file, too large, too deep, or has a number of too many digits;
            the message names the file.
    """
    content = read_bytes(path, most).removeprefix(b"\xef\xbb\xbf")
    try:
        values = from_json(content, allow_inf_nan=False)
        if _TOO_LONG in content.translate(_ONE_DIGIT):  # in a number, or in a text
            json.loads(content, parse_int=_refuse_long, parse_float=_refuse_long)
    except ValueError as error:
        raise damaged(path, str(error)) from None
    if not isinstance(values, dict):
        raise damaged(path, f"a mapping is needed, it holds a {type(values).__name__}")
    # Such a character is either escaped there or is none of ASCII.
    return _visible_in(values) if shown and (b"\\u" in content or not content.isascii()) else values


def read_as(kind: TypeAdapter[Kind], path: Path, most: int = MOST_BYTES, *, shown: bool = False) -> Kind:
    """The mapping in a file, as the type that it must be; keys of a later version are passed over.

    Raises:
        OSError: as in `read_json`.
        ValueError: likewise, or a value is of another type or out of range: it is named with the file.
    """
    return checked(kind, read_json(path, most, shown=shown), path)


def checked(kind: TypeAdapter[Kind], values: dict[str, Any], path: Path) -> Kind:
    """What a file holds as the type that it must be.

    Raises:
        ValueError: it is of another type: see `read_as`.
    """
    try:
        return kind.validate_python(values, strict=True)
    except ValidationError as error:
        raise damaged(path, fault(faults(error)[0])) from None


def damaged(path: Path, why: str) -> ValueError:
    """The error that names a file."""
    return ValueError(visible(f"{path} is damaged: {why}"))


def faults(error: ValidationError) -> Sequence[ErrorDetails]:
    """What is wrong, without the values themselves, which may be anything."""
    return error.errors(include_url=False, include_context=False, include_input=False)


def fault(detail: ErrorDetails) -> str:
    """One thing that is wrong, with its place: ``metrics.val/acc: Input should be a valid number``."""
    place = ".".join(map(str, detail["loc"]))
    return f"{place[:LONGEST_PLACE]}: {detail['msg']}"


def tree_of_yaml(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, whose aliases stand for no more than a file may hold.

    Raises:
        yaml.YAMLError: it is no YAML.
        RecursionError: it is nested too deeply.
        ValueError: it would be too large with every alias written out.
    """
    tree = yaml.compose(text, yaml.SafeLoader)
    if "&" in text and (size := _size(tree, {})) > MOST_YAML:
        raise ValueError(f"its aliases stand for {size:,} values; allowed: at most {MOST_YAML:,}")
    return tree


def read_yaml_list(path: Path) -> list[str]:
    """The list of texts in a YAML file.

    Raises:
        OSError: there is no file, or it cannot be read.
        ValueError: it is no YAML, or no list of texts; the message names the file.
    """
    text = read_text(path)
    try:
        tree = tree_of_yaml(text)
    except RecursionError:
        raise damaged(path, "it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise damaged(path, " ".join(str(error).split())) from None
    nodes = [] if tree is None else tree.value if isinstance(tree, yaml.SequenceNode) else [tree]
    if not all(isinstance(node, yaml.ScalarNode) for node in nodes) or isinstance(tree, yaml.ScalarNode):
        raise damaged(path, "a list of texts is needed")
    return [node.value for node in nodes]


def _visible_in(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _visible_in(item) for key, item in value.items()}
    return [_visible_in(item) for item in value] if isinstance(value, list) else value


def _refuse_long(digits: str) -> float:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return 0.0


def _size(node: yaml.Node | None, known: dict[Hashable, int]) -> int:
    """Values below a node, those behind an alias counted wherever it stands."""
    if node is None or id(node) in known:
        return known.get(id(node), 0)
    known[id(node)] = 0  # an alias of itself
    below = node.value if isinstance(node.value, list) else []
    inner = [part for item in below for part in (item if isinstance(item, tuple) else (item,))]
    known[id(node)] = 1 + sum(_size(part, known) for part in inner)
    return known[id(node)]
