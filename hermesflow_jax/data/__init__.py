"""Inputs from files, image files, and the Grain input pipeline."""
