"""podium's own core, in C++."""
