"""Inputs from files, and batches on devices."""
