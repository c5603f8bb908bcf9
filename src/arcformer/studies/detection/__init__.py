"""Scores of anomaly measured: what they find, what they cry wolf at, and what trivial features find without labels."""
