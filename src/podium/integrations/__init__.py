"""Adapters to the reranker interfaces of other packages, one module per package, which it imports."""
