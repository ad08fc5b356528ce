"""Converts weights between PyTorch and JAX.

Commands: `python -m conversions.convert`, `python -m conversions.verify`;
docs/conversion.md describes them.

  convert           command line
  from_pytorch      PyTorch weights -> checkpoint
  to_pytorch        checkpoint, trained model, bundle or run -> PyTorch weights
  verify            command line: compares a checkpoint with PyTorch activations
  weight_rows       tables of weight names
  weight_table      conversion by a table
  model_sizes       sizes from tensors and `config.json`
  tables/           a table for each model
  files/            readers and writers of checkpoint files
  verification/     the checks that `verify` runs
"""
