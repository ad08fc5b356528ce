"""Golden activations, and the keys that `verify` fails."""

import numpy as np


def arrays_of(folder, keys=None):
  """Returns arrays of a golden folder by key."""
  with np.load(folder / 'io.npz') as file:
    return {k: file[k] for k in (keys or file.files)}


def failures(lines):
  """Returns the keys of lines that begin with FAILED."""
  return {
    line.split()[1].rstrip(':') for line in lines if line.startswith('FAILED')
  }
