"""Checkpoint files of PyTorch: safetensors and pytorch_model.bin."""
