"""Whether a model understands and generates what a caption says."""
