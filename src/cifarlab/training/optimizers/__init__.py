"""What a config can choose as its optimizer."""

from cifarlab.training.optimizers.factories import adam, adamw, muon, sgd, timm_optimizer

__all__ = ["adam", "adamw", "muon", "sgd", "timm_optimizer"]
