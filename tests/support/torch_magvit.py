"""MAGVIT-v2 stated once more, in PyTorch, from its description alone.

Images [B, C, H, W]; `w` is a state dict with the official names.
"""

import torch
from torch.nn import functional as F

GROUPS = 32


def encode(w: dict, pixels: torch.Tensor) -> torch.Tensor:
  """Returns z [B, Z, H / f, W / f] of pixels in [-1, 1]."""
  x = _conv(w, 'encoder.conv_in', pixels)
  levels = _count(w, 'encoder.down')
  for i in range(levels):
    for j in range(_count(w, f'encoder.down.{i}.block')):
      x = _block(w, f'encoder.down.{i}.block.{j}', x)
    if i < levels - 1:
      # One row and one column of zeros, at the bottom and at the right.
      x = F.pad(x, (0, 1, 0, 1))
      name = f'encoder.down.{i}.downsample.conv'
      x = F.conv2d(x, w[f'{name}.weight'], w[f'{name}.bias'], stride=2)
  x = _middle(w, 'encoder.mid', x)
  x = _conv(w, 'encoder.conv_out', F.silu(_norm(w, 'encoder.norm_out', x)))
  return _conv(w, 'encoder.quant_conv', x)


def decode(w: dict, codes: torch.Tensor) -> torch.Tensor:
  """Returns pixels [B, 3, H, W] of codes int[B, h, w]."""
  size = w['decoder.post_quant_conv.weight'].shape[1]
  shifts = torch.arange(size - 1, -1, -1)[None, :, None, None]
  bits = (codes[:, None] >> shifts) & 1
  x = _conv(w, 'decoder.post_quant_conv', 2.0 * bits - 1.0)
  x = _middle(w, 'decoder.mid', _conv(w, 'decoder.conv_in', x))
  for i in reversed(range(_count(w, 'decoder.up'))):
    for j in range(_count(w, f'decoder.up.{i}.block')):
      x = _block(w, f'decoder.up.{i}.block.{j}', x)
    if i:
      x = F.interpolate(x, scale_factor=2, mode='nearest')
      x = _conv(w, f'decoder.up.{i}.upsample.conv', x)
  return _conv(w, 'decoder.conv_out', F.silu(_norm(w, 'decoder.norm_out', x)))


def _count(w, prefix):
  place = prefix.count('.') + 1
  return len({n.split('.')[place] for n in w if n.startswith(prefix + '.')})


def _conv(w, name, x):
  weight = w[f'{name}.weight']
  return F.conv2d(x, weight, w[f'{name}.bias'], padding=weight.shape[-1] // 2)


def _norm(w, name, x):
  return F.group_norm(x, GROUPS, w[f'{name}.weight'], w[f'{name}.bias'], 1e-6)


def _block(w, name, x):
  y = _conv(w, f'{name}.conv1', F.silu(_norm(w, f'{name}.norm1', x)))
  y = _conv(w, f'{name}.conv2', F.silu(_norm(w, f'{name}.norm2', y)))
  if f'{name}.nin_shortcut.weight' in w:
    x = _conv(w, f'{name}.nin_shortcut', x)
  return x + y


def _middle(w, name, x):
  x = _block(w, f'{name}.block_1', x)
  y = _norm(w, f'{name}.attn_1.norm', x)
  q, k, v = (
    _conv(w, f'{name}.attn_1.{n}', y).flatten(2) for n in ('q', 'k', 'v')
  )
  weights = torch.softmax(q.transpose(1, 2) @ k * q.shape[1] ** -0.5, dim=-1)
  y = (v @ weights.transpose(1, 2)).reshape(x.shape)
  return _block(
    w, f'{name}.block_2', x + _conv(w, f'{name}.attn_1.proj_out', y)
  )
