"""Weights to and from the official PyTorch checkpoints."""
