"""The record of a checkpoint is read from its file, or by orbax."""

import jax.numpy as jnp
import pytest

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import checkpoint_record
from hermesflow_jax.checkpoints import read_errors

META = {'step': 3, 'text': 'é "quoted"'}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  path = tmp_path_factory.mktemp('record') / 'checkpoint'
  checkpoint.save(str(path), {'a': jnp.arange(3)}, META)
  return path


def test_the_file_holds_the_record_that_orbax_reads(saved, monkeypatch):
  record = checkpoint_record._read_strings(saved)
  assert record['user'] == META and list(record['fingerprint']) == ['a']
  monkeypatch.setattr(checkpoint_record, '_read_strings', lambda folder: None)
  assert checkpoint_record.read(str(saved)) == record


@pytest.mark.parametrize('change', [b'{', b'', b'[1]', b'{"record": 1}', None])
def test_a_file_with_another_record_is_never_trusted(saved, tmp_path, change):
  folder = tmp_path / 'checkpoint'
  (folder / 'meta').mkdir(parents=True)
  (folder / checkpoint_record.MARK).touch()
  strings = (saved / 'meta' / '_strings.json').read_bytes()
  changed = strings.replace(b'3', b'4') if change is None else change
  (folder / 'meta' / '_strings.json').write_bytes(changed)
  with pytest.raises(read_errors.DamagedError):
    checkpoint_record.read(str(folder))


def test_no_checkpoint_is_a_clear_message(tmp_path):
  missing = str(tmp_path / '3')
  with pytest.raises(ValueError, match='no readable checkpoint'):
    checkpoint.read_metadata(missing)
  with pytest.raises(ValueError, match='no readable checkpoint'):
    checkpoint.restore(missing, {}, {})
