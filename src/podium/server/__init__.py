"""podium serve: rerankers over HTTP, through the APIs that clients already use, and a web page to try them."""
