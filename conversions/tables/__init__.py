"""Weight tables: PyTorch name | JAX path | transform."""
