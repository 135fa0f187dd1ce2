"""A rerank API over HTTP: one declarative row per provider, and one machinery for all of them."""
