"""The Inception of the Frechet distance comes in and goes out as it was."""

import json

import jax
import numpy as np
import pytest
import torch_weights

from conversions import from_pytorch
from conversions.files import source
from conversions.tables import inception_table


@pytest.fixture(scope='module')
def state():
  return torch_weights.arrays('inception')


def test_there_and_back_is_the_identity(run, state, tmp_path):
  """As published: without a config, with counters of training steps."""
  src = torch_weights.write(tmp_path / 'src', state, {})
  (src / 'config.json').unlink()
  assert run('inception', src, tmp_path / 'ours') == (0, '')
  code, _ = run('inception', tmp_path / 'ours', tmp_path / 'back', '--reverse')
  assert code == 0
  back = source.find(str(tmp_path / 'back'))
  assert back.tensors.keys() == state.keys() and len(state) == 6 * 94 + 2
  for name, array in state.items():
    assert back.tensors[name].dtype == array.dtype
    np.testing.assert_array_equal(back.tensors[name].read(), array)
  assert back.config == torch_weights.config('inception')


def test_counters_of_training_steps_are_not_read(state):
  lines = []
  counted = dict(state)
  counted[inception_table.COUNTERS[3]] = np.array(7)
  assert (
    inception_table.without_counters(counted, lines.append).keys()
    == inception_table.without_counters(state, lines.append).keys()
    == state.keys() - set(inception_table.COUNTERS)
  )
  assert lines == ['num_batches_tracked is not read; --reverse writes 0']


@pytest.mark.parametrize(
  'changes, config, output',
  [
    (
      {'fc.weight': np.zeros((1000, 128), np.float32)},
      {},
      'fc.weight must have 1008 rows, got 1000: .* pt_inception-2015-12-05',
    ),
    (
      {'Conv2d_1a_3x3.conv.weight': np.zeros((3, 3, 3, 3), np.float32)},
      {},
      'must have 32 outputs, got 3',
    ),
    ({}, {'num_classes': 1000}, 'num_classes must be 1008, got 1000'),
    (
      {'AuxLogits.fc.weight': np.zeros((3, 3), np.float32)},
      {},
      'no auxiliary classifier, got AuxLogits.fc.weight: .* torchvision',
    ),
    (
      {'Mixed_7c.branch_pool.bn.running_var': np.zeros(3, np.float32)},
      {},
      r'running_var: shape must be \(12,\), got \(3,\)',
    ),
  ],
)
def test_other_networks_are_refused(state, changes, config, output):
  weights = source.Source('', state | changes, config, ())
  with pytest.raises(ValueError, match=output):
    from_pytorch.read_model('inception', weights, 0)


def test_activations_are_compared(run_verify, state, tmp_path):
  src = torch_weights.write(
    tmp_path / 'src', state, torch_weights.config('inception')
  )
  assert json.loads((src / 'config.json').read_text())['hidden_size'] == 128
  pixels = np.random.default_rng(0).uniform(-1, 1, (1, 3, 75, 75))
  pixels = pixels.astype(np.float32)
  features, logits = jax.jit(lambda m, x: m(x))(
    torch_weights.model('inception'), pixels.transpose(0, 2, 3, 1)
  )
  arrays = dict(pixels=pixels, pool3=np.asarray(features), logits=logits)
  assert run_verify('inception', src, arrays)[0] == 0
  arrays['logits'] = logits + 1
  code, lines = run_verify('inception', src, arrays)
  assert code == 1 and lines[1].startswith('FAILED logits')
