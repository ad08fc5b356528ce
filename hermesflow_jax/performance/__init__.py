"""Speed: benchmarks, and programs compiled for TPU slices."""
