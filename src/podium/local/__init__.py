"""Models on this machine, without PyTorch: cross-encoders that score pairs, and embedders."""
