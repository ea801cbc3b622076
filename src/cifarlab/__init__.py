"""A laboratory for 32x32 image classification."""

__version__ = "0.1.0"
