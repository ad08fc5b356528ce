"""The training step, its loop, and pretraining."""
