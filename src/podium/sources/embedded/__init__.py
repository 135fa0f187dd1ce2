"""An index in a folder or in memory, without a server."""
