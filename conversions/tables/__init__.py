"""One table a model: PyTorch name | JAX path | transformation."""
