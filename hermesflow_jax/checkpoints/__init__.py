"""Checkpoints: saved training states and models."""
