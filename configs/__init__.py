"""Configs of the jobs: every number of an experiment, with its origin."""
