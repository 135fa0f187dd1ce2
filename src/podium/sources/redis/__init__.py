"""Candidates from a Redis with its search module."""
