"""The files of podium-multi, a model that podium loads by this name."""

from pathlib import Path

__all__ = ["FOLDER"]

FOLDER = Path(__file__).parent / "model"
"""The folder of the model, in the layout of a Hugging Face repository."""
