"""From a figure to a file: PNG for the screen, SVG and PDF for print."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from annotated_types import Ge, Le

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
LEAST, MOST = 50, 600
DotsPerInch = Annotated[int, Ge(LEAST), Le(MOST)]

SCREEN, PRINT = 120, 300  # dots an inch: of a PNG, and of the pictures inside an SVG or PDF


def rendered(figure: Figure, form: Format = "png", dpi: int | None = None) -> bytes:
    """A figure as a file's bytes, the same each time.

    Args:
        figure: drawn.
        form: ``png``, or ``svg`` or ``pdf``, whose lines and letters know no pixels.
        dpi: dots an inch; None is `SCREEN` for a PNG, and `PRINT` for the pictures in the others.
    """
    import matplotlib  # late: whoever only asks which formats there are need not wait for it

    drawn = io.BytesIO()
    # TrueType: publishers refuse the Type 3 fonts that matplotlib would embed. The salt and no date: the same bytes.
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "cifarlab"}):
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
        figure.savefig(drawn, format=form, dpi=dpi or (SCREEN if form == "png" else PRINT), metadata=undated)
    return drawn.getvalue()
