"""A bundle comes back as it was, or says which file is not."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
import tiny

from hermesflow_jax.checkpoints import model_bundle

FILES = ('model.safetensors', 'tokenizer.safetensors', 'text.json')


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(0))


@pytest.fixture(scope='module')
def saved(model, tmp_path_factory):
  path = tmp_path_factory.mktemp('bundles') / 'whole'
  model_bundle.save_tokenizer(str(path), tiny.tokenizer())
  model_bundle.save_model(
    str(path), model, tiny.text(), tiny.LENGTHS, tiny.GRID
  )
  return path


@pytest.fixture
def copy(saved, tmp_path):
  path = tmp_path / 'copy'
  shutil.copytree(saved, path)
  return path


def assert_same(result, expected):
  assert jax.tree.structure(result) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, result, expected)


def test_a_bundle_comes_back(saved, model):
  result = model_bundle.load_bundle(str(saved))
  assert_same(result.model, model)
  assert_same(result.tokenizer, tiny.tokenizer())
  assert result.model.config == model.config
  assert result.tokenizer.config == tiny.tokenizer().config
  assert result.lengths == tiny.LENGTHS and result.grid == tiny.GRID
  assert result.text.encode(['red circle']) == tiny.text().encode(
    ['red circle']
  )


def test_a_tokenizer_can_come_alone(tmp_path):
  model_bundle.save_tokenizer(str(tmp_path), tiny.tokenizer())
  result = model_bundle.load_bundle(str(tmp_path))
  assert_same(result.tokenizer, tiny.tokenizer())
  assert result.model is None and result.text is None


def test_the_order_of_saving_makes_no_difference(saved, model, tmp_path):
  model_bundle.save_model(
    str(tmp_path), model, tiny.text(), tiny.LENGTHS, tiny.GRID
  )
  model_bundle.save_tokenizer(str(tmp_path), tiny.tokenizer())
  for file in saved.iterdir():
    assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_weights_are_named_as_parameters(saved):
  arrays = safetensors.numpy.load_file(saved / 'model.safetensors')
  assert 'decoder/layers/fc1/kernel' in arrays
  assert arrays['embed/embedding'].shape == (tiny.vocab().size, 16)


@pytest.mark.parametrize('name', FILES)
def test_a_flipped_bit_is_found_in_the_file(copy, name):
  data = bytearray((copy / name).read_bytes())
  data[len(data) // 2] ^= 1
  (copy / name).write_bytes(data)
  with pytest.raises(ValueError, match=f'{name} has SHA-256'):
    model_bundle.load_bundle(str(copy))


@pytest.mark.parametrize('name', FILES)
def test_a_missing_file_is_named(copy, name):
  (copy / name).unlink()
  with pytest.raises(ValueError, match=f'{name} is missing'):
    model_bundle.load_bundle(str(copy))


@pytest.mark.parametrize('text', [None, '', '{', '[]', '{}', '{"sha256": {}}'])
def test_a_config_that_is_none_is_refused(copy, text):
  (copy / 'config.json').unlink()
  if text is not None:
    (copy / 'config.json').write_text(text)
  with pytest.raises(ValueError, match='no readable bundle'):
    model_bundle.load_bundle(str(copy))


def change(folder, edit):
  """Edits the arrays of the model, with a right sum."""
  path = folder / 'model.safetensors'
  arrays = safetensors.numpy.load_file(path)
  edit(arrays)
  path.write_bytes(safetensors.numpy.save(arrays))
  record = json.loads((folder / 'config.json').read_text())
  record['sha256'][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
  (folder / 'config.json').write_text(json.dumps(record))


def test_arrays_that_do_not_fit_are_all_named(copy):
  def edit(arrays):
    del arrays['head/bias']
    arrays['extra'] = np.zeros(3, np.float32)
    arrays['embed/embedding'] = arrays['embed/embedding'][:-1].copy()
    arrays['decoder/final_layernorm/bias'] = np.zeros(16, np.float16)

  change(copy, edit)
  with pytest.raises(ValueError) as caught:
    model_bundle.load_bundle(str(copy))
  message = str(caught.value)
  size = tiny.vocab().size
  assert 'head/bias is missing' in message
  assert 'extra is surplus' in message
  assert (
    f'embed/embedding must be float32[{size}, 16], '
    f'got float32[{size - 1}, 16]' in message
  )
  assert 'bias must be float32[16], got float16[16]' in message
  assert '\n' not in message


def test_weights_of_other_sizes_are_refused(copy):
  record = json.loads((copy / 'config.json').read_text())
  record['decoder']['mlp'] = 64
  (copy / 'config.json').write_text(json.dumps(record))
  with pytest.raises(ValueError, match='fc1/kernel must be .* got'):
    model_bundle.load_bundle(str(copy))


def test_a_bundle_of_a_bucket_is_that_of_a_folder(saved, model, bucket):
  where = 'gs://bucket/base'
  model_bundle.save_tokenizer(where, tiny.tokenizer())
  model_bundle.save_model(where, model, tiny.text(), tiny.LENGTHS, tiny.GRID)
  assert {name: blob.data for name, blob in bucket.blobs.items()} == {
    f'base/{file.name}': file.read_bytes() for file in saved.iterdir()
  }
  result, expected = (
    model_bundle.load_bundle(where),
    model_bundle.load_bundle(str(saved)),
  )
  assert_same(result.model, expected.model)
  assert_same(result.tokenizer, expected.tokenizer)
  assert result.text.encode(['a red circle']) == expected.text.encode(
    ['a red circle']
  )


@pytest.mark.parametrize('name', FILES)
def test_faults_of_a_bundle_in_a_bucket_are_named(saved, bucket, name):
  bucket.put_folder('base', saved)
  data = bytearray(bucket.blobs[f'base/{name}'].data)
  data[len(data) // 2] ^= 1
  bucket.put(f'base/{name}', bytes(data))
  with pytest.raises(ValueError, match=f'gs://bucket/base: {name} has SHA-256'):
    model_bundle.load_bundle('gs://bucket/base')
  del bucket.blobs[f'base/{name}']
  with pytest.raises(ValueError, match=f'gs://bucket/base: {name} is missing'):
    model_bundle.load_bundle('gs://bucket/base')
