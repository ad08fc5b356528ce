"""Pair-DPO: preference rows, log-likelihoods, losses."""
