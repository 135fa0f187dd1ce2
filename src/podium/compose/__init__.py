"""Scorers that are made of other scorers. They are scorers themselves, so they can be nested."""
