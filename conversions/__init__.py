"""Converts weights between PyTorch and JAX.

Commands: `python -m conversions.convert`, `python -m conversions.verify`;
docs/conversion.md describes them.

  convert           command line
  from_pytorch      PyTorch weights -> checkpoint
  to_pytorch        checkpoint, trained model, bundle or run -> PyTorch weights
  from_peft         PEFT folder with LoRA adapters -> adapters
  to_peft           adapters -> PEFT folder
  verify            command line: compares a checkpoint with PyTorch activations
  weight_rows       tables of weight names
  weight_table      conversion by a table
  tensor_names      tensor names without prefixes of training programs
  model_sizes       sizes from tensors and `config.json`
  paths             paths on the command line
  tables/           a table for each model
  files/            readers and writers of checkpoint files
  verification/     the checks that `verify` runs
"""
