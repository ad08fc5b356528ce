"""Programs compiled for a TPU slice that is not attached."""
