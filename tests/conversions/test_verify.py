"""The verifier accepts equal activations and names each difference."""

import golden_arrays
import numpy as np
import pytest

from conversions import convert
from conversions import verify
from conversions.verification import showo_checks
from conversions.verification import vision_checks
from hermesflow_jax.runtime import terminal

SHOW_O_KEYS = ('t2i_win_ids', 't2i_win_logits')


MAGVIT_KEYS = ('pixels_0', 'z_0', 'recon_0', 'indices_0')


@pytest.mark.parametrize(
  'kind, name, count',
  [('showo', 'showo_small', 42), ('magvitv2', 'magvit_small', 10)],
)
def test_the_goldens_pass(run_verify, goldens, tmp_path, kind, name, count):
  folder = goldens / name
  assert (
    convert.main([kind, str(folder), str(tmp_path / 'ours')], terminal.silent())
    == 0
  )
  flags = ['--reference', str(folder / 'reference_model.safetensors')]
  code, lines = run_verify(
    kind,
    tmp_path / 'ours',
    golden_arrays.arrays_of(folder),
    *(flags if kind == 'showo' else []),
  )
  assert (code, lines[-1]) == (0, f'{count} passed, 0 failed'), lines
  assert all(line.startswith('ok') for line in lines[:-1])


def test_every_key_of_the_goldens_readme_is_known(goldens):
  """No line says that a key is unknown."""
  text = (goldens / 'README.md').read_text()
  for name in (
    'quantizer_loss_i',
    'mmu_gen_tokens',
    'inpaint_keep',
    'grad_global_norm',
    't2i_text_lengths',
  ):
    assert f'`{name}`' in text
  for kind, name in (('showo', 'showo_small'), ('magvitv2', 'magvit_small')):
    actual = golden_arrays.arrays_of(goldens / name)
    # Without weights: only the names of what is compared or read.
    model, max_text = verify.load_or_convert(kind, str(goldens / name))
    if kind == 'showo':
      created = showo_checks.make(model, None, actual, max_text)
      inputs = showo_checks.INPUTS
    else:
      created = vision_checks.magvit(model, actual)
      inputs = vision_checks.inputs(actual)
    assert set(actual) <= set(created) | inputs


@pytest.fixture
def policy(goldens):
  return goldens / 'showo_small'


def test_wrong_integers_fail(run_verify, policy):
  arrays = golden_arrays.arrays_of(
    policy,
    [
      't2i_text_ids',
      't2i_win_tokens',
      't2i_mask',
      't2i_win_ids',
      't2i_win_labels',
      't2i_attention',
    ],
  )
  arrays['t2i_win_labels'][1, 20] += 1
  arrays['t2i_attention'][2, 3, 30] ^= True
  code, lines = run_verify('showo', policy, arrays)
  assert code == 1
  assert golden_arrays.failures(lines) == {'t2i_win_labels', 't2i_attention'}
  assert any('1 of 124 differ' in line for line in lines)


def test_unknown_keys_are_named_and_do_not_fail(run_verify, policy):
  arrays = golden_arrays.arrays_of(policy, SHOW_O_KEYS)
  code, lines = run_verify('showo', policy, arrays | {'mystery': np.zeros(2)})
  assert code == 0
  assert any(line.endswith('mystery: unknown key') for line in lines)


def test_nothing_compared_is_no_success(run_verify, policy):
  code, lines = run_verify('showo', policy, {'mystery': np.zeros(2)})
  assert code == 1
  assert lines[-2] == '0 passed, 0 failed'
  assert run_verify('magvitv2', policy.parent / 'magvit_small', {})[0] == 1


def test_what_a_key_needs_is_named(run_verify, policy):
  arrays = golden_arrays.arrays_of(
    policy,
    [
      't2i_win_logits',
      'dpo_loss',
      'mmu_win_ids',
      'mmu_win_labels',
      'logp_reference_mmu_win',
    ],
  )
  code, lines = run_verify('showo', policy, arrays)
  output = '\n'.join(lines)
  assert code == 1
  assert 't2i_win_logits: cannot be computed without t2i_win_ids' in output
  assert 'logp_reference_mmu_win: cannot be computed without --refer' in output
  assert 'mmu_win_ids: input' in output


def test_a_shape_or_a_nan_fails(run_verify, policy):
  arrays = golden_arrays.arrays_of(policy, SHOW_O_KEYS)
  code, lines = run_verify(
    'showo',
    policy,
    arrays | {'t2i_win_logits': arrays['t2i_win_logits'][:, :-1]},
  )
  assert code == 1
  assert 'shape must be (4, 30, 125), got (4, 31, 125)' in '\n'.join(lines)
  arrays['t2i_win_logits'][0, 0, 0] = np.nan
  code, lines = run_verify('showo', policy, arrays)
  assert code == 1 and golden_arrays.failures(lines) == {'t2i_win_logits'}


def test_a_tolerance_decides(run_verify, policy):
  arrays = golden_arrays.arrays_of(policy, SHOW_O_KEYS)
  arrays['t2i_win_logits'][0, 5, 7] += 5e-4
  assert run_verify('showo', policy, arrays)[0] == 1
  code, lines = run_verify('showo', policy, arrays, '--scale', '10')
  assert code == 0 and 'tolerance 1e-03' in '\n'.join(lines), lines[:3]
  assert run_verify('showo', policy, arrays, '--scale', 'nan')[0] == 2


def test_what_cannot_be_read_ends_in_one_line(tmp_path, policy, capsys):
  nothing = tmp_path / 'nothing.npz'
  for path, data in (
    (nothing, None),
    (tmp_path / 'x.npz', b'hello'),
    (tmp_path / 'y.npz', b'PK\x03\x04broken'),
  ):
    if data:
      path.write_bytes(data)
    code = verify.main(['showo', str(policy), str(path)], terminal.silent())
    output = capsys.readouterr().err
    assert code == 2 and output.count('\n') == 1, output
  np.save(tmp_path / 'w.npy', np.zeros(3))
  assert (
    verify.main(
      ['showo', str(policy), str(tmp_path / 'w.npy')], terminal.silent()
    )
    == 2
  )
  np.savez(tmp_path / 'z.npz', a=np.array([{}], object))
  code = verify.main(
    ['showo', str(policy), str(tmp_path / 'z.npz')], terminal.silent()
  )
  assert code == 2 and 'no readable arrays' in capsys.readouterr().err
