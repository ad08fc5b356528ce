"""Checkpoints in PyTorch's form, written and read for tests of conversion."""

import numpy as np
import torch_weights

from conversions.files import source

# name of torch_weights: KIND of the commands
NAMES = {
  'showo': 'showo',
  'with_clip': 'showo',
  'magvitv2': 'magvitv2',
  'clip_vision': 'clip_vision',
  'clip': 'clip',
  'bert': 'bert',
  'mpnet': 'mpnet',
}


def folder_of(path, name, dtype=np.float32, **changes):
  """Writes a checkpoint with some tensors changed (None: removed)."""
  state = torch_weights.arrays(name, dtype) | changes
  state = {k: v for k, v in state.items() if v is not None}
  return torch_weights.write(path, state, torch_weights.config(name))


def bits(path):
  """Returns {name: (dtype, shape, bytes)} of a checkpoint."""
  return {
    name: (t.dtype, t.shape, t.read().tobytes())
    for name, t in source.find(str(path)).tensors.items()
  }
