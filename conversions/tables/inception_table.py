"""Inception v3 of the Frechet distance: torch name | jax path | transform.

The PyTorch weights are `pt_inception-2015-12-05`, as pytorch-fid reads them. A
convolution has five tensors, so the table is the product of two lists: CONVS
with the names of modules, and PARTS with the tensors of a module.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

import numpy as np

from conversions import model_sizes
from conversions import weight_rows
from conversions import weight_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import inception

# torch module | jax module
CONVS = """
Conv2d_1a_3x3            | conv2d_1a_3x3
Conv2d_2a_3x3            | conv2d_2a_3x3
Conv2d_2b_3x3            | conv2d_2b_3x3
Conv2d_3b_1x1            | conv2d_3b_1x1
Conv2d_4a_3x3            | conv2d_4a_3x3
Mixed_5b.branch1x1       | mixed_5b.branch1x1
Mixed_5b.branch5x5_1     | mixed_5b.branch5x5_1
Mixed_5b.branch5x5_2     | mixed_5b.branch5x5_2
Mixed_5b.branch3x3dbl_1  | mixed_5b.branch3x3dbl_1
Mixed_5b.branch3x3dbl_2  | mixed_5b.branch3x3dbl_2
Mixed_5b.branch3x3dbl_3  | mixed_5b.branch3x3dbl_3
Mixed_5b.branch_pool     | mixed_5b.branch_pool
Mixed_5c.branch1x1       | mixed_5c.branch1x1
Mixed_5c.branch5x5_1     | mixed_5c.branch5x5_1
Mixed_5c.branch5x5_2     | mixed_5c.branch5x5_2
Mixed_5c.branch3x3dbl_1  | mixed_5c.branch3x3dbl_1
Mixed_5c.branch3x3dbl_2  | mixed_5c.branch3x3dbl_2
Mixed_5c.branch3x3dbl_3  | mixed_5c.branch3x3dbl_3
Mixed_5c.branch_pool     | mixed_5c.branch_pool
Mixed_5d.branch1x1       | mixed_5d.branch1x1
Mixed_5d.branch5x5_1     | mixed_5d.branch5x5_1
Mixed_5d.branch5x5_2     | mixed_5d.branch5x5_2
Mixed_5d.branch3x3dbl_1  | mixed_5d.branch3x3dbl_1
Mixed_5d.branch3x3dbl_2  | mixed_5d.branch3x3dbl_2
Mixed_5d.branch3x3dbl_3  | mixed_5d.branch3x3dbl_3
Mixed_5d.branch_pool     | mixed_5d.branch_pool
Mixed_6a.branch3x3       | mixed_6a.branch3x3
Mixed_6a.branch3x3dbl_1  | mixed_6a.branch3x3dbl_1
Mixed_6a.branch3x3dbl_2  | mixed_6a.branch3x3dbl_2
Mixed_6a.branch3x3dbl_3  | mixed_6a.branch3x3dbl_3
Mixed_6b.branch1x1       | mixed_6b.branch1x1
Mixed_6b.branch7x7_1     | mixed_6b.branch7x7_1
Mixed_6b.branch7x7_2     | mixed_6b.branch7x7_2
Mixed_6b.branch7x7_3     | mixed_6b.branch7x7_3
Mixed_6b.branch7x7dbl_1  | mixed_6b.branch7x7dbl_1
Mixed_6b.branch7x7dbl_2  | mixed_6b.branch7x7dbl_2
Mixed_6b.branch7x7dbl_3  | mixed_6b.branch7x7dbl_3
Mixed_6b.branch7x7dbl_4  | mixed_6b.branch7x7dbl_4
Mixed_6b.branch7x7dbl_5  | mixed_6b.branch7x7dbl_5
Mixed_6b.branch_pool     | mixed_6b.branch_pool
Mixed_6c.branch1x1       | mixed_6c.branch1x1
Mixed_6c.branch7x7_1     | mixed_6c.branch7x7_1
Mixed_6c.branch7x7_2     | mixed_6c.branch7x7_2
Mixed_6c.branch7x7_3     | mixed_6c.branch7x7_3
Mixed_6c.branch7x7dbl_1  | mixed_6c.branch7x7dbl_1
Mixed_6c.branch7x7dbl_2  | mixed_6c.branch7x7dbl_2
Mixed_6c.branch7x7dbl_3  | mixed_6c.branch7x7dbl_3
Mixed_6c.branch7x7dbl_4  | mixed_6c.branch7x7dbl_4
Mixed_6c.branch7x7dbl_5  | mixed_6c.branch7x7dbl_5
Mixed_6c.branch_pool     | mixed_6c.branch_pool
Mixed_6d.branch1x1       | mixed_6d.branch1x1
Mixed_6d.branch7x7_1     | mixed_6d.branch7x7_1
Mixed_6d.branch7x7_2     | mixed_6d.branch7x7_2
Mixed_6d.branch7x7_3     | mixed_6d.branch7x7_3
Mixed_6d.branch7x7dbl_1  | mixed_6d.branch7x7dbl_1
Mixed_6d.branch7x7dbl_2  | mixed_6d.branch7x7dbl_2
Mixed_6d.branch7x7dbl_3  | mixed_6d.branch7x7dbl_3
Mixed_6d.branch7x7dbl_4  | mixed_6d.branch7x7dbl_4
Mixed_6d.branch7x7dbl_5  | mixed_6d.branch7x7dbl_5
Mixed_6d.branch_pool     | mixed_6d.branch_pool
Mixed_6e.branch1x1       | mixed_6e.branch1x1
Mixed_6e.branch7x7_1     | mixed_6e.branch7x7_1
Mixed_6e.branch7x7_2     | mixed_6e.branch7x7_2
Mixed_6e.branch7x7_3     | mixed_6e.branch7x7_3
Mixed_6e.branch7x7dbl_1  | mixed_6e.branch7x7dbl_1
Mixed_6e.branch7x7dbl_2  | mixed_6e.branch7x7dbl_2
Mixed_6e.branch7x7dbl_3  | mixed_6e.branch7x7dbl_3
Mixed_6e.branch7x7dbl_4  | mixed_6e.branch7x7dbl_4
Mixed_6e.branch7x7dbl_5  | mixed_6e.branch7x7dbl_5
Mixed_6e.branch_pool     | mixed_6e.branch_pool
Mixed_7a.branch3x3_1     | mixed_7a.branch3x3_1
Mixed_7a.branch3x3_2     | mixed_7a.branch3x3_2
Mixed_7a.branch7x7x3_1   | mixed_7a.branch7x7x3_1
Mixed_7a.branch7x7x3_2   | mixed_7a.branch7x7x3_2
Mixed_7a.branch7x7x3_3   | mixed_7a.branch7x7x3_3
Mixed_7a.branch7x7x3_4   | mixed_7a.branch7x7x3_4
Mixed_7b.branch1x1       | mixed_7b.branch1x1
Mixed_7b.branch3x3_1     | mixed_7b.branch3x3_1
Mixed_7b.branch3x3_2a    | mixed_7b.branch3x3_2a
Mixed_7b.branch3x3_2b    | mixed_7b.branch3x3_2b
Mixed_7b.branch3x3dbl_1  | mixed_7b.branch3x3dbl_1
Mixed_7b.branch3x3dbl_2  | mixed_7b.branch3x3dbl_2
Mixed_7b.branch3x3dbl_3a | mixed_7b.branch3x3dbl_3a
Mixed_7b.branch3x3dbl_3b | mixed_7b.branch3x3dbl_3b
Mixed_7b.branch_pool     | mixed_7b.branch_pool
Mixed_7c.branch1x1       | mixed_7c.branch1x1
Mixed_7c.branch3x3_1     | mixed_7c.branch3x3_1
Mixed_7c.branch3x3_2a    | mixed_7c.branch3x3_2a
Mixed_7c.branch3x3_2b    | mixed_7c.branch3x3_2b
Mixed_7c.branch3x3dbl_1  | mixed_7c.branch3x3dbl_1
Mixed_7c.branch3x3dbl_2  | mixed_7c.branch3x3dbl_2
Mixed_7c.branch3x3dbl_3a | mixed_7c.branch3x3dbl_3a
Mixed_7c.branch3x3dbl_3b | mixed_7c.branch3x3dbl_3b
Mixed_7c.branch_pool     | mixed_7c.branch_pool
"""
# torch tensor | jax parameter | transform
PARTS = """
conv.weight     | kernel | conv
bn.weight       | scale  | copy
bn.bias         | bias   | copy
bn.running_mean | mean   | copy
bn.running_var  | var    | copy
"""
FC = """
fc.weight | fc.kernel | transpose
fc.bias   | fc.bias   | copy
"""


def _lines(text: str) -> list[list[str]]:
  """Returns the columns of aligned lines."""
  return [
    [part.strip() for part in line.split('|')]
    for line in text.strip().splitlines()
  ]


TABLE = weight_rows.parse(FC) + tuple(
  weight_rows.WeightRow(f'{module}.{name}', f'{path}.{part}', transform)
  for module, path in _lines(CONVS)
  for name, part, transform in _lines(PARTS)
)
# Buffers of PyTorch that count training steps.
COUNTERS = tuple(
  f'{module}.bn.num_batches_tracked' for module, _ in _lines(CONVS)
)


ADVICE = (
  'the Frechet distance needs pt_inception-2015-12-05, whose weights and pools '
  "differ from those of torchvision's Inception"
)


def constants() -> dict[str, np.ndarray]:
  """Returns COUNTERS by name, all 0."""
  return {name: np.zeros((), np.int64) for name in COUNTERS}


def without_counters(
  state_dict: Mapping[str, Any], say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
  """Returns tensors without COUNTERS, which only training reads.

  Args:
    state_dict: torch name -> tensor.
    say: receives a line if a counter is not 0.
  """
  counters = {name: state_dict[name] for name in COUNTERS if name in state_dict}
  if any(np.any(np.asarray(counter)) for counter in counters.values()):
    say('num_batches_tracked is not read; --reverse writes 0')
  return {k: v for k, v in state_dict.items() if k not in counters}


def refuse_auxiliary(state_dict: Collection[str]) -> None:
  """Raises ValueError for an Inception with an auxiliary classifier.

  Args:
    state_dict: torch names.
  """
  surplus = [name for name in state_dict if 'AuxLogits.' in name]
  if surplus:
    raise ValueError(
      f'the tensors must have no auxiliary classifier, got {surplus[0]:.100}: '
      + ADVICE
    )


def read_sizes(
  state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> inception.InceptionConfig:
  """Reads a checkpoint's sizes.

  Args:
    state_dict: torch name -> tensor. Tensors determine every size.
    config: `config.json`, which the published weights do not have; {} then.

  Raises:
    ValueError: the tensors are those of another network.
  """
  width, *_ = model_sizes.shape(state_dict, 'Conv2d_1a_3x3.conv.weight', 4)
  classes, _ = model_sizes.shape(state_dict, 'fc.weight', 2)
  if classes != inception.CLASSES:
    raise ValueError(
      f'fc.weight must have {inception.CLASSES} rows, got {classes}: {ADVICE}'
    )
  if 32 % width:
    raise ValueError(
      f'Conv2d_1a_3x3.conv.weight must have 32 outputs, got {width}'
    )
  reader = model_sizes.Config(config)
  reader.agree(num_classes=classes)
  reader.check()
  return inception.InceptionConfig(divisor=32 // width)


def official(config: inception.InceptionConfig) -> dict[str, Any]:
  """Returns a `config.json` that names the network; PyTorch has none."""
  return {
    'model_type': 'fid_inception_v3',
    'num_classes': inception.CLASSES,
    'hidden_size': config.features,
  }


def to_jax(
  state_dict: Mapping[str, Any],
  config: inception.InceptionConfig,
  progress=iter,
) -> inception.Inception:
  """Builds a network from PyTorch tensors; ValueError lists all faults."""
  abstract = abstract_modules.abstract_module(inception.Inception, config)
  return weight_table.to_jax(
    without_counters(state_dict), TABLE, abstract, progress=progress
  )


def to_torch(model: inception.Inception) -> dict[str, np.ndarray]:
  """Returns a network's PyTorch state dict, the inverse of `to_jax`."""
  return weight_table.to_torch(model, TABLE, constants())
