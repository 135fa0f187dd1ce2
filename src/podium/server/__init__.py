"""podium serve: rerankers over HTTP, in the words of the APIs that clients already speak, and a page to look at."""
