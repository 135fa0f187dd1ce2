"""The functions that answer requests, one or more per path."""
