"""HermesFlow in JAX: a multimodal model that aligns what it sees and draws."""
