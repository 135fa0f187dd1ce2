"""Measure rerankers: test collections, runs, metrics, significance, reports, and calibration."""
