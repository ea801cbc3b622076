"""Documents: every link leads to a file, every picture is there and is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "benchmarks").glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(document: Path) -> set[Path]:
    """The files of ours that a document links to or shows."""
    written = (link.partition("#")[0] for link in LINK.findall(document.read_text(encoding="utf-8")))
    return {(document.parent / link).resolve() for link in written if link and "://" not in link}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [path for path in links(document) if not path.exists()] == []


def test_every_page_and_picture_is_linked() -> None:
    linked = set().union(*map(links, DOCUMENTS))
    pages = {path for path in (ROOT / "docs").rglob("*") if path.is_file()}
    assert len(pages) > 20
    assert pages - linked == set()
