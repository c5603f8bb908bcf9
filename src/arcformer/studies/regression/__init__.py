"""Posteriors measured: errors, coverage and calibration, and what needs no network on the same images."""
