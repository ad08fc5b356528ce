"""Checkpoints come back bit for bit, or not at all."""

import gc
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest
import tiny

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding

# When one read of a damaged checkpoint fails, orbax forgets the others.
pytestmark = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)

META = {'seed': 3, 'settings': 'as they were'}


def tree_on(mesh, key=0):
  """Layers of a model with a step and halves, placed by the rules."""
  model = tiny.show_o(jax.random.key(key))
  tree = {
    'model': {
      'embed': model.embed,
      'fc1': model.decoder.layers.fc1,
      'head': model.head,
    },
    'step': jnp.int32(7),
    'half': jnp.arange(5, dtype=jnp.bfloat16),
    'flags': jnp.array([True, False]),
  }
  return jax.device_put(tree, sharding.shardings(tree, mesh))


@pytest.fixture(scope='module')
def tree():
  return tree_on(tiny.mesh(4, 2))


@pytest.fixture(scope='module')
def saved(tree, tmp_path_factory):
  path = tmp_path_factory.mktemp('runs') / '7'
  checkpoint.save(str(path), tree, META)
  return path


@pytest.fixture
def in_bucket(bucket, tree):
  """The path of a checkpoint in a bucket."""
  checkpoint.save('gs://bucket/run/7', tree, META)
  return 'gs://bucket/run/7'


def placed(tree, mesh=None):
  return sharding.shardings(tree, mesh or tiny.mesh(4, 2))


def assert_same(result, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, b, strict=True),
    result,
    expected,
  )


@pytest.mark.parametrize('shape', [(4, 2), (1, 1), (2, 4), (8, 1)])
def test_a_checkpoint_comes_back_on_any_mesh(saved, tree, shape):
  expected = placed(tree, tiny.mesh(*shape))
  result = checkpoint.restore(str(saved), tree, expected)
  assert_same(result, tree)
  same = jax.tree.map(
    lambda a, s: a.sharding.is_equivalent_to(s, a.ndim), result, expected
  )
  assert all(jax.tree.leaves(same))


def test_shapes_alone_say_what_is_wanted(saved, tree):
  abstract = jax.eval_shape(lambda: tree)
  assert_same(checkpoint.restore(str(saved), abstract, placed(tree)), tree)


def test_meta_comes_back(saved):
  assert checkpoint.read_metadata(str(saved)) == META


def test_a_part_comes_back_alone(saved, tree):
  result = checkpoint.restore(
    str(saved), tree['model'], placed(tree['model']), part='model/'
  )
  assert_same(result, tree['model'])
  expected = checkpoint.array_shapes(str(saved))
  assert expected['half'].dtype == jnp.bfloat16 and expected['step'].shape == ()
  with pytest.raises(ValueError, match='modal/embed/embedding: not in the ch'):
    checkpoint.restore(
      str(saved), tree['model'], placed(tree['model']), part='modal/'
    )


def test_an_existing_path_is_refused(saved, tree):
  with pytest.raises(ValueError, match='exists'):
    checkpoint.save(str(saved), tree, META)
  assert_same(checkpoint.restore(str(saved), tree, placed(tree)), tree)


def test_every_fault_of_the_fit_is_named(saved, tree):
  expected = dict(tree) | {
    'half': jnp.zeros(5, jnp.float32),
    'flags': jnp.zeros(3, bool),
    'more': jnp.zeros(2),
  }
  del expected['step']
  with pytest.raises(ValueError) as caught:
    checkpoint.restore(str(saved), expected, placed(expected))
  message = str(caught.value)
  assert 'step: not in the model' in message
  assert 'more: not in the checkpoint' in message
  assert 'half must be float32[5], got bfloat16[5]' in message
  assert 'flags must be bool[3], got bool[2]' in message
  assert message.count(';') == 3 and '\n' not in message


def teardown_module():
  gc.collect()  # The forgotten reads, before the next file begins.


def files_of(path):
  return sorted(p for p in path.rglob('*') if p.is_file())


def outcome(path, tree):
  """'refused', or 'same' if all that was saved comes back."""
  try:
    result = checkpoint.restore(str(path), tree, placed(tree))
    meta = checkpoint.read_metadata(str(path))
  except ValueError:
    return 'refused'
  assert_same(result, tree)
  assert meta == META
  return 'same'


def test_flipped_bytes_are_never_read_as_if_nothing_had_happened(
  saved, tree, tmp_path
):
  copy = tmp_path / '7'
  shutil.copytree(saved, copy)
  rng, result = np.random.default_rng(0), []
  for file in files_of(copy):
    whole = file.read_bytes()
    for place in rng.integers(len(whole), size=4 if whole else 0):
      broken = bytearray(whole)
      broken[place] ^= 1 << rng.integers(8)
      file.write_bytes(broken)
      result.append((outcome(copy, tree), file.relative_to(copy)))
    file.write_bytes(whole)
  data = [what for what, file in result if str(file).startswith('arrays/d')]
  assert len(data) >= 4 and set(data) == {'refused'}, result


@pytest.mark.parametrize('damage', ['truncated', 'missing'])
def test_files_cut_short_or_missing_are_found(saved, tree, tmp_path, damage):
  result = {}
  for n, file in enumerate(files_of(saved)):
    copy = tmp_path / str(n)
    shutil.copytree(saved, copy)
    victim = copy / file.relative_to(saved)
    if damage == 'missing':
      victim.unlink()
    else:
      victim.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result[str(file.relative_to(saved))] = outcome(copy, tree)
  data = [what for name, what in result.items() if name.startswith('arrays/d')]
  assert data and set(data) == {'refused'}, result


@pytest.mark.parametrize(
  'name', ['load_checkpointables', 'checkpointables_metadata']
)
@pytest.mark.parametrize(
  'error', [OSError(24, 'Too many open files'), MemoryError()]
)
def test_what_the_machine_lacks_is_no_damage(
  saved, tree, monkeypatch, name, error
):
  """Also while the record is read."""

  def fails(*_):
    raise RuntimeError('outer') from error

  monkeypatch.setattr(ocp, name, fails)
  with pytest.raises(OSError, match='could not be read'):
    checkpoint.restore(str(saved), tree, placed(tree))


@pytest.mark.parametrize(
  'answers, expected',
  [
    ([False, True], read_errors.DamagedError),
    ([False, False], OSError),
    ([True, False, True], read_errors.DamagedError),
    ([True, False, False], OSError),
  ],
)
def test_all_processes_call_a_fault_the_same(
  saved, tree, monkeypatch, answers, expected
):
  """What another met: damage, or what its machine lacks."""
  answers = iter(answers)
  monkeypatch.setattr(processes, 'all_true', lambda yes: yes and next(answers))
  with pytest.raises(expected) as raised:
    checkpoint.restore(str(saved), tree, placed(tree))
  assert isinstance(raised.value, expected)


def test_a_changed_record_is_found(saved, tmp_path):
  copy = tmp_path / '7'
  shutil.copytree(saved, copy)
  changed = 0
  for file in files_of(copy):
    text = file.read_bytes()
    if b'as they were' in text:
      file.write_bytes(text.replace(b'as they were', b'as they want'))
      changed += 1
  assert changed
  with pytest.raises(ValueError, match='readable checkpoint'):
    checkpoint.read_metadata(str(copy))


@pytest.mark.parametrize('shape', [(4, 2), (8, 1)])
def test_a_checkpoint_of_a_bucket_comes_back(in_bucket, saved, tree, shape):
  expected = placed(tree, tiny.mesh(*shape))
  assert_same(checkpoint.restore(in_bucket, tree, expected), tree)
  assert checkpoint.read_metadata(in_bucket) == META
  assert checkpoint.array_hashes(in_bucket) == checkpoint.array_hashes(
    str(saved)
  )
  assert checkpoint.is_checkpoint(in_bucket) and checkpoint.exists(in_bucket)
  with pytest.raises(ValueError, match='gs://bucket/run/7 exists'):
    checkpoint.save(in_bucket, tree, META)


def test_one_that_was_carried_into_a_bucket_comes_back(bucket, saved, tree):
  bucket.put_folder('other/7', saved)
  result = checkpoint.restore('gs://bucket/other/7', tree, placed(tree))
  assert_same(result, tree)


def test_one_whose_end_was_not_written_is_not_there(in_bucket, bucket, tree):
  """As a process that is killed while it saves leaves it."""
  bucket.put('run/7/stray', b'of another time')
  del bucket.blobs['run/7/commit_success.txt']
  assert not checkpoint.exists(in_bucket)
  with pytest.raises(
    read_errors.DamagedError, match='no readable checkpoint at gs:'
  ):
    checkpoint.read_metadata(in_bucket)
  checkpoint.save(in_bucket, tree, META)
  assert_same(checkpoint.restore(in_bucket, tree, placed(tree)), tree)
  assert 'run/7/stray' not in bucket.blobs


def test_one_that_is_removed_loses_its_mark_first(in_bucket, bucket):
  bucket.put('run/70/x', b'')
  bucket.seen.clear()
  checkpoint.remove(in_bucket)
  deleted = [name for method, name in bucket.seen if method == 'DELETE']
  assert deleted[0] == 'run/7/commit_success.txt'
  assert bucket.names() == ['run/70/x']


def test_damage_in_a_bucket_is_found(in_bucket, bucket, tree):
  for name in bucket.names('run/7/arrays/'):
    if '/d/' in name:
      data = bytearray(bucket.blobs[name].data)
      for n in range(0, len(data), 50):
        data[n] ^= 1
      bucket.put(name, bytes(data))
  with pytest.raises(read_errors.DamagedError, match='gs://bucket/run/7'):
    checkpoint.restore(in_bucket, tree, placed(tree))


@pytest.mark.parametrize('status', [401, 403])
@pytest.mark.parametrize('part', ['', '/d/'])
def test_a_bucket_that_does_not_answer_is_not_damage(
  in_bucket, bucket, tree, status, part
):
  bucket.fails = lambda method, name: status if part in name else 0
  with pytest.raises(OSError, match='gs://bucket/run/7 could not be read'):
    checkpoint.restore(in_bucket, tree, placed(tree))
