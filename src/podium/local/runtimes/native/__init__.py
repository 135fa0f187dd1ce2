"""podium's own core, written in C++."""
