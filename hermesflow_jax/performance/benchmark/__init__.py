"""Times of the samplers and the training step, beside naive baselines."""
