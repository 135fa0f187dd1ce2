"""Is it better? Test collections, runs, metrics, significance, and what a reranker did to a search."""
