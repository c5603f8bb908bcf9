"""Classes measured: AUC, accuracy, calibration, and what trivial features reach on the same images."""
