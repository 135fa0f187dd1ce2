"""Rerankers in the shape that other packages ask for, one file per package, which it imports."""
