"""Times samplers and training steps and compares them with baselines."""
