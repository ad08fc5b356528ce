"""Checks that compare a checkpoint with PyTorch activations."""
