"""Comparisons of many runs: ablations, seeds, controls."""
