"""What the import of Lightning brings along and no run uses: seconds of every start.

Lightning needs torchmetrics for two classes. torchmetrics on its way imports torchvision, scipy.signal and
matplotlib.pyplot wherever they are installed, for metrics of detection and sound and for plots: 1.3 of the 2.8 s of CPU
that Lightning takes after torch (n = 3; torch 2.15, lightning 2.6). While it is imported they count as missing.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "torchmetrics"
SPARED = frozenset({"matplotlib", "scipy", "torchvision"})


def spare_imports() -> None:
    """From here on torchmetrics is imported alone, when it is; nothing where it has been imported already."""
    if PACKAGE not in sys.modules and not any(isinstance(finder, _Alone) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alone())


class _Alone(MetaPathFinder):
    """Finds torchmetrics as others do, and is gone."""

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != PACKAGE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def alone(module: ModuleType) -> None:
            with _missing():
                execute(module)

        spec.loader.exec_module = alone  # type: ignore[method-assign]
        return spec


@contextmanager
def _missing() -> Iterator[None]:
    """Within, who asks lightning_utilities for one of the packages is told that it is not installed."""
    from lightning_utilities.core import imports

    available, is_met = imports.package_available, imports.RequirementCache.__bool__

    def asked(cache: imports.RequirementCache) -> bool:
        name = re.match(r"[\w-]*", cache.requirement or "")
        return (name is None or name[0] not in SPARED) and is_met(cache)

    imports.package_available = lambda name: name not in SPARED and available(name)  # type: ignore[assignment]
    imports.RequirementCache.__bool__ = asked  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        imports.package_available = available
        imports.RequirementCache.__bool__ = is_met  # type: ignore[method-assign]
