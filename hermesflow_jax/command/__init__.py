"""The command line: `hermesflow`, `python main.py`, `python -m hermesflow_jax`.

Only this folder uses absl's flags and ml_collections' configs, and only it
imports the project's `configs` and `conversions`, by name and when needed.
"""
