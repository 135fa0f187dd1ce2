"""Rerank APIs over HTTP: one declarative row per provider, and one implementation for all of them."""
