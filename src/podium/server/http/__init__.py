"""HTTP itself: connections, bodies, their limits, and who may ask."""
