"""A cross-encoder on this machine: a folder of files in, scores out, no PyTorch anywhere."""
