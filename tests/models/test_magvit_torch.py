"""The statement of MAGVIT-v2 in PyTorch is the official one."""

import numpy as np
import pytest
import safetensors.numpy

torch = pytest.importorskip('torch')
import torch_magvit


@pytest.mark.parametrize('case', [0, 1])
def test_it_reproduces_the_goldens(goldens, case):
  folder = goldens / 'magvit_small'
  weights = {
    name: torch.from_numpy(array)
    for name, array in safetensors.numpy.load_file(
      folder / 'model.safetensors'
    ).items()
  }
  with np.load(folder / 'io.npz') as actual:
    pixels, z = actual[f'pixels_{case}'], actual[f'z_{case}']
    codes, recon = actual[f'indices_{case}'], actual[f'recon_{case}']
  np.testing.assert_allclose(
    torch_magvit.encode(weights, torch.from_numpy(pixels)), z, atol=1e-5
  )
  codes = torch.from_numpy(codes).reshape(z.shape[0], *z.shape[2:])
  np.testing.assert_allclose(
    torch_magvit.decode(weights, codes), recon, atol=1e-5
  )
