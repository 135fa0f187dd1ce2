"""What a server tells about its work: log lines, metrics, traces."""
