"""Rerank APIs over HTTP: a table with one row per provider, and one implementation for all of them."""
