"""Folders of other origin are never replaced, and failures leave no folder."""

import conversion_files
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from conversions.files import destination
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model


def test_what_is_there_is_kept_unless_told_otherwise(run, converted, tmp_path):
  src, _ = converted
  assert run('showo', src, tmp_path / 'ours')[0] == 0
  file = tmp_path / 'ours' / '_CHECKPOINT_METADATA'
  before = file.read_bytes()
  code, output = run('showo', src, tmp_path / 'ours')
  assert code == 2 and 'exists; --overwrite replaces it' in output
  assert file.read_bytes() == before
  other = conversion_files.folder_of(tmp_path / 'other', 'with_clip')
  assert run('showo', other, tmp_path / 'ours', '--overwrite')[0] == 0
  assert (
    converted_model.read_record(str(tmp_path / 'ours'), 'showo').sizes
    == torch_weights.WITH_CLIP
  )


def test_a_failed_overwrite_keeps_what_was_there(run, converted, tmp_path):
  src, _ = converted
  assert run('showo', src, tmp_path / 'ours')[0] == 0
  bad = conversion_files.folder_of(
    tmp_path / 'bad', 'showo', **{'showo.lm_head.bias': None}
  )
  assert run('showo', bad, tmp_path / 'ours', '--overwrite')[0] == 2
  assert converted_model.read_record(
    str(tmp_path / 'ours'), 'showo'
  ).source == str(src)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['bad', 'ours']


@pytest.fixture(params=['files', 'pytorch', 'trained', 'file'])
def theirs(request, tmp_path):
  """Something that none of these commands made."""
  path = tmp_path / 'mine'
  if request.param == 'files':
    path.mkdir()
    (path / 'thesis.txt').write_text('kept')
  elif request.param == 'pytorch':
    conversion_files.folder_of(path, 'showo')
  elif request.param == 'trained':
    checkpoint.save(str(path), {'a': jnp.zeros(3)}, {'seconds': 1.0})
  else:
    path.write_text('kept')
  return path


@pytest.mark.parametrize('reverse', [False, True])
def test_nobodys_other_files_are_replaced(run, converted, theirs, reverse):
  src, ours = converted
  before = theirs.stat().st_ino
  arguments = ['showo', ours if reverse else src, theirs, '--overwrite']
  code, output = run(*arguments, *(['--reverse'] if reverse else []))
  assert code == 2 and 'was not written by this command' in output
  assert theirs.stat().st_ino == before


def test_a_checkpoint_that_is_not_there_is_named(run, tmp_path):
  arguments = ['showo', tmp_path / 'ours', tmp_path / 'back', '--reverse']
  code, output = run(*arguments)
  expected = f'error: no checkpoint or bundle at {arguments[1]}\n'
  assert (code, output) == (2, expected)
  assert not (tmp_path / 'back').exists()


def test_what_was_written_back_may_be_written_again(run, converted, tmp_path):
  command = ['showo', converted[1], tmp_path / 'back', '--reverse']
  assert run(*command)[0] == 0
  code, output = run(*command)
  assert code == 2 and '--overwrite replaces it' in output
  assert run(*command, '--overwrite', '--dtype', 'float32')[0] == 0
  assert {t[0] for t in conversion_files.bits(tmp_path / 'back').values()} == {
    np.dtype(np.float32)
  }


@pytest.mark.parametrize(
  'target, message', [('ck/q/..', 'ck exists'), ('file/x', 'file is no folder')]
)
def test_a_path_is_checked_before_folders_are_made(tmp_path, target, message):
  (tmp_path / 'ck').mkdir()
  (tmp_path / 'ck' / 'mine').touch()
  (tmp_path / 'file').touch()
  with pytest.raises(ValueError, match=message):
    with destination.new_folder(tmp_path / target, False, lambda path: True):
      raise AssertionError('work before the path was checked')
  assert not (tmp_path / 'ck' / 'q').exists()


def test_a_path_with_parents_that_do_not_exist_is_written(tmp_path):
  target = tmp_path / 'new' / 'q' / '..'
  with destination.new_folder(target, False, lambda path: True) as folder:
    folder.mkdir()
  assert [p.name for p in tmp_path.rglob('*')] == ['new']
