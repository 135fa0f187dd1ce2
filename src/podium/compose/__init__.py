"""Scorers that wrap another scorer and change or store its scores."""
