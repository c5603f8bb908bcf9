"""Transformers for dark matter morphology with strong gravitational lensing."""
