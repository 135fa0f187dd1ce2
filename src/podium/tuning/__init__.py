"""Tuning: select the composition, its options and the number of candidates on judged queries."""
