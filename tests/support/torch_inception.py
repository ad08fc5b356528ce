"""Inception v3 of the Frechet distance stated once more, in PyTorch.

From the published definition (arXiv 1512.00567, figures 5 to 7, and the pools
of the network of 2015). Images are [B, C, H, W]; `w` is a state dict with the
names of pytorch-fid.
"""

import torch
from torch.nn import functional as F


def run(w: dict, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
  """Returns the outputs of all layers by name, `pool3` and `logits`."""
  outputs = {}

  def layer(name, x, function=None, **options):
    outputs[name] = (function or conv)(w, name, x, **options)
    return outputs[name]

  x = layer('Conv2d_1a_3x3', pixels, stride=2, padding=0)
  x = layer('Conv2d_2a_3x3', x, padding=0)
  x = layer('Conv2d_2b_3x3', x)
  x = layer('Conv2d_3b_1x1', F.max_pool2d(x, 3, 2))
  x = layer('Conv2d_4a_3x3', x, padding=0)
  x = F.max_pool2d(x, 3, 2)
  for name in 'bcd':
    x = layer(f'Mixed_5{name}', x, block_5)
  x = layer('Mixed_6a', x, block_6a)
  for name in 'bcde':
    x = layer(f'Mixed_6{name}', x, block_6)
  x = layer('Mixed_7a', x, block_7a)
  x = layer('Mixed_7b', x, block_7, pool=average)
  x = layer('Mixed_7c', x, block_7, pool=lambda x: F.max_pool2d(x, 3, 1, 1))
  outputs['pool3'] = x.mean((2, 3))
  outputs['logits'] = F.linear(outputs['pool3'], w['fc.weight'], w['fc.bias'])
  return outputs


def conv(w, name, x, stride=1, padding=None):
  weight = w[f'{name}.conv.weight']
  if padding is None:
    padding = tuple(side // 2 for side in weight.shape[2:])
  mean, var = w[f'{name}.bn.running_mean'], w[f'{name}.bn.running_var']
  x = F.conv2d(x, weight, stride=stride, padding=padding)
  x = F.batch_norm(
    x, mean, var, w[f'{name}.bn.weight'], w[f'{name}.bn.bias'], eps=1e-3
  )
  return F.relu(x)


def average(x):
  return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def branch(w, name, x, count, **last):
  """Applies the convolutions <name>_1, ..., <name>_<count>."""
  for i in range(1, count + 1):
    x = conv(w, f'{name}_{i}', x, **(last if i == count else {}))
  return x


def block_5(w, name, x):
  return torch.cat(
    [
      conv(w, f'{name}.branch1x1', x),
      branch(w, f'{name}.branch5x5', x, 2),
      branch(w, f'{name}.branch3x3dbl', x, 3),
      conv(w, f'{name}.branch_pool', average(x)),
    ],
    1,
  )


def block_6a(w, name, x):
  halve = dict(stride=2, padding=0)
  return torch.cat(
    [
      conv(w, f'{name}.branch3x3', x, **halve),
      branch(w, f'{name}.branch3x3dbl', x, 3, **halve),
      F.max_pool2d(x, 3, 2),
    ],
    1,
  )


def block_6(w, name, x):
  return torch.cat(
    [
      conv(w, f'{name}.branch1x1', x),
      branch(w, f'{name}.branch7x7', x, 3),
      branch(w, f'{name}.branch7x7dbl', x, 5),
      conv(w, f'{name}.branch_pool', average(x)),
    ],
    1,
  )


def block_7a(w, name, x):
  halve = dict(stride=2, padding=0)
  return torch.cat(
    [
      branch(w, f'{name}.branch3x3', x, 2, **halve),
      branch(w, f'{name}.branch7x7x3', x, 4, **halve),
      F.max_pool2d(x, 3, 2),
    ],
    1,
  )


def block_7(w, name, x, pool):
  once = branch(w, f'{name}.branch3x3', x, 1)
  twice = branch(w, f'{name}.branch3x3dbl', x, 2)
  return torch.cat(
    [
      conv(w, f'{name}.branch1x1', x),
      conv(w, f'{name}.branch3x3_2a', once),
      conv(w, f'{name}.branch3x3_2b', once),
      conv(w, f'{name}.branch3x3dbl_3a', twice),
      conv(w, f'{name}.branch3x3dbl_3b', twice),
      conv(w, f'{name}.branch_pool', pool(x)),
    ],
    1,
  )
