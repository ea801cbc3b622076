"""What Hydra has against a config, in our words."""

from __future__ import annotations

import difflib


def explain(error: Exception) -> str:
    """An error of Hydra's in our form: for an option that a group lacks, the nearest right one and all there are."""
    file, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)  # MissingConfigException
    if not file or not options:
        return str(error).strip() or type(error).__name__
    group, _, name = file.rpartition("/")
    near = difflib.get_close_matches(name, options, n=1)
    hint = f" Did you mean {group}={near[0]}?" if near else ""
    return f"{group}={name}: there is no such {group}.{hint} Allowed: {', '.join(options)}"
