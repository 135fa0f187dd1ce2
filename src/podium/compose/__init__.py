"""Scorers that use other scorers."""
