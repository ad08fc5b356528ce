"""Job configs: every number in an experiment, with its origin."""
