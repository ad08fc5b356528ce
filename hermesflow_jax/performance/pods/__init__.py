"""Compiles programs for TPU slices that are not attached."""
