"""Finer images measured: against the truth, against interpolation and deconvolution, and against what was seen."""
