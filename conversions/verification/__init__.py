"""Comparison of a checkpoint with activations of PyTorch."""
