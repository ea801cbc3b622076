"""``k/K``: one part of a cross-validation."""

import re


def parse_fold(fold: str) -> tuple[int, int]:
    """``"2/5"`` as (2, 5).

    Raises:
        ValueError: it is not ``k/K`` with 1 <= k <= K and K >= 2.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", fold)
    if match is None or not (1 <= int(match[1]) <= int(match[2]) and int(match[2]) >= 2):
        raise ValueError(f"fold={fold}: allowed is k/K with 1 <= k <= K and K >= 2, for example 1/5")
    return int(match[1]), int(match[2])
