"""Tensors are found within the dictionaries that training programs save."""

import argparse
import pathlib

import numpy as np
import pytest
import torch_files

from conversions.files import source


def nested(**entries):
  """Returns the opcodes of a dictionary of opcodes."""
  return torch_files.state_dict(entries)[2:-1]


def wrapped(path, **entries):
  """Writes a torch file with one tensor and other things around it."""
  return torch_files.archive(
    path, torch_files.state_dict(entries), {'data/0': bytes(16)}
  )


TENSOR = torch_files.tensor('0', 4, (4,), (1,))
NUMBER = torch_files.numbers(3)[1:-1]
OPTIMIZER = nested(
  state=nested(exp_avg=TENSOR), param_groups=b']' + nested(lr=NUMBER) + b'a'
)
NAMESPACE = (
  b'cargparse\nNamespace\n)\x81' + nested(lr=NUMBER, path=NUMBER) + b'b'
)


@pytest.mark.parametrize(
  'entries, keys',
  [
    ({'module': nested(w=TENSOR)}, "'module'"),
    ({'state_dict': nested(w=TENSOR), 'epoch': NUMBER}, "'state_dict'"),
    ({'model': nested(w=TENSOR), 'optimizer': OPTIMIZER}, "'model'"),
    ({'model': nested(w=TENSOR), 'args': NAMESPACE}, "'model'"),
    ({'model': nested(w=TENSOR), 'step': TENSOR}, "'model'"),
    ({'a': nested(state_dict=nested(w=TENSOR))}, "'a', 'state_dict'"),
  ],
)
def test_dictionaries_around_the_tensors_are_opened(tmp_path, entries, keys):
  lines = []
  path = wrapped(tmp_path / 'x.bin', **entries)
  assert source.find(str(path), lines.append).tensors.keys() == {'w'}
  assert lines == [f'x.bin: taking the tensors in {keys}']


def test_several_models_in_a_file_are_named(tmp_path):
  models = {'model': nested(w=TENSOR), 'ema': nested(w=TENSOR)}
  path = wrapped(tmp_path / 'x.bin', **models)
  torch_files.refused(
    path, r"got 'model', 'ema': save .*torch.load.*\['model'\]"
  )


def test_a_dictionary_in_several_places_is_searched_once(tmp_path):
  """A dictionary that holds itself 1,000 times has 10**12 places."""
  names = [str(n) for n in range(1_000)]
  inner = b'}q\x01(' + b''.join(
    torch_files.text(name) + b'h\x01' for name in names
  )
  inner += torch_files.text('model') + nested(w=TENSOR) + b'u'
  path = wrapped(tmp_path / 'x.bin', all=inner)
  assert source.find(str(path)).tensors.keys() == {'w'}
  path = wrapped(tmp_path / 'y.bin', all=inner, step=NUMBER)
  assert source.find(str(path)).tensors.keys() == {'w'}


def test_a_dictionary_without_tensors_is_refused(tmp_path):
  path = wrapped(tmp_path / 'x.bin', args=NAMESPACE)
  torch_files.refused(path, "'args' must be a tensor, got a Setting")


@pytest.mark.parametrize(
  'code', [b'cmodels.showo\nShowo\n)\x81', b'cargparse\n_sys\n']
)
def test_a_file_that_needs_code_names_the_way_on(tmp_path, code):
  path = wrapped(tmp_path / 'x.bin', model=code)
  torch_files.refused(path, r'calls .*: load it with PyTorch .*state_dict\(\)')


def test_a_program_of_torchscript_is_named(tmp_path):
  path = torch_files.archive(
    tmp_path / 'x.pt', torch_files.state_dict({}), {'code/x.py': b'1'}
  )
  torch_files.refused(path, 'TorchScript')


def test_what_torch_saves_in_dictionaries_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  module = torch.nn.Linear(3, 2)
  optimizer = torch.optim.AdamW(module.parameters())
  module(torch.ones(1, 3)).sum().backward()
  optimizer.step()
  torch.save(
    {
      'module': module.state_dict(),
      'optimizer': optimizer.state_dict(),
      'args': argparse.Namespace(lr=1e-3, out=pathlib.Path('/x'), n=None),
      'device': torch.device('cpu'),
      'dtype': torch.float32,
      'shapes': [{'weight': module.weight.shape}],
      'loss': np.float64(0.5),
      'rng_state': torch.random.get_rng_state(),
      'names': {'a', 'b'},
      'step': 5,
    },
    tmp_path / 'mp_rank_00_model_states.pt',
  )
  actual = source.find(str(tmp_path / 'mp_rank_00_model_states.pt')).tensors
  assert actual.keys() == {'weight', 'bias'}
  np.testing.assert_array_equal(
    actual['weight'].read(), module.weight.detach().numpy()
  )
