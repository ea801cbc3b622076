"""Ranges that several architectures share, for the annotations of their constructors."""

from typing import Annotated

from annotated_types import Ge, Le, Lt

# Share of values that dropout sets to zero.
Rate = Annotated[float, Ge(0.0), Lt(1.0)]
# Channels of a convolution or units of a dense layer; 4096 is VGG's widest layer.
Width = Annotated[int, Ge(1), Le(4096)]
