"""Weights to and from PyTorch.

Commands: `python -m conversions.convert`, `python -m conversions.verify`;
docs/conversion.md says how to use them.

  showo, magvit, clip, phi    what is read by which name: literal tables
  table, sizes                how a table is applied; sizes from tensors
  source                      a file, a folder, shards, or a hub id, by
  safetensors_file,           readers that trust nothing they are given
  torch_file, tensors
  destination                 a folder that appears whole or not at all
  checks, verify_*            what is compared with activations of PyTorch
"""
