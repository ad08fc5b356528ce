"""Tokenizers and sizes of settings agree with the trained model of a job."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import tiny
import tiny_jobs
import torch_weights

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.models import magvit


def with_sizes(root, **changes):
  """Settings of a variant whose config names parts, from the trained model."""
  config = tiny_jobs.job_config(root / 'run', sizes=None)
  sizes = model_folder.Sizes(
    trained_model.read_record(
      str(root / 'run' / 'checkpoints' / '2')
    ).sizes.vocab,
    tiny_jobs.DECODER,
    tiny_jobs.MAGVIT,
    tiny_jobs.LENGTHS,
    (4, 4),
  )
  return dataclasses.replace(
    config,
    **{
      'sizes': sizes,
      'tokenizer': 'checkpoints/magvitv2',
      'text': 'checkpoints/phi-1_5',
      'missing': 'Convert it.',
    }
    | changes,
  )


@pytest.mark.parametrize(
  'names',
  [
    ('nowhere', 'nowhere'),
    ('', ''),
    ('images', 'text/tokenizer.json'),
    ('run', 'text/tokenizer.json'),
  ],
)
def test_a_trained_model_has_its_own_tokenizers(root, names):
  """Those that settings name may be missing, and are the same where not."""
  tokenizer, text = (str(root / n) if n else '' for n in names)
  config = with_sizes(root, tokenizer=tokenizer, text=text)
  parts = job_model.load_parts(
    config, job_model.locate(config), tiny.mesh(1, 1)
  )
  assert parts.tokenizer.config == tiny_jobs.MAGVIT and parts.text.size == 400


@pytest.mark.parametrize('setting', ['tokenizer', 'text'])
def test_other_tokenizers_beside_a_trained_model_are_refused(
  root, tmp_path, setting
):
  other = str(tmp_path / 'other')
  if setting == 'tokenizer':
    model_bundle.save_tokenizer(
      other, torch_weights.random_model(magvit.Magvit, tiny_jobs.MAGVIT, 7)
    )
  else:
    other += '.json'
    words = json.loads((root / 'text' / 'tokenizer.json').read_text())
    merges = words['model']['merges']
    # As many tokens with the same names, put together in another order.
    merges[0], merges[-1] = merges[-1], merges[0]
    with open(other, 'w', encoding='utf-8') as file:
      json.dump(words, file)
  config = with_sizes(root, **{setting: other})
  path = job_model.locate(config)
  with pytest.raises(ValueError, match=f'{setting} must be the .* got {other}'):
    job_model.load_parts(config, path, tiny.mesh(1, 1))
  if setting == 'text':
    # Known before a run claims its folder.
    with pytest.raises(ValueError, match='text must be the text tokenizer of'):
      model_hashes.text_identity(config, path)


def test_sizes_that_are_not_those_of_a_trained_model_are_refused(root):
  config = with_sizes(root)
  sizes = dataclasses.replace(
    config.sizes, decoder=dataclasses.replace(tiny_jobs.DECODER, mlp=32)
  )
  config = dataclasses.replace(config, sizes=sizes)
  with pytest.raises(ValueError, match='decoder.mlp of .* must be 32, got 16'):
    job_model.load_parts(config, job_model.locate(config), tiny.mesh(1, 1))


@pytest.mark.parametrize('name', ['model', 'run'])
def test_the_images_of_a_job_may_have_another_size(root, name):
  """As in the official training, which begins at 512 px from 256."""
  sizes = dataclasses.replace(with_sizes(root).sizes, grid=(4, 8))
  config = with_sizes(
    root,
    init_from=str(root / name),
    sizes=sizes,
    tokenizer=str(root / 'images'),
    text=str(root / 'text/tokenizer.json'),
  )
  console, lines = tiny_jobs.heard()
  path = job_model.locate(config, console)
  assert lines[-1] == (
    f'{path} was trained with 16 tokens per image; this run has 32'
  )
  parts = job_model.load_parts(config, path, tiny.mesh(1, 1))
  assert parts.model.config.image_tokens == 32 and parts.grid == (4, 8)


def test_the_image_tokenizer_of_a_run_is_read(root):
  result = initial_model.open(root / 'run').load_tokenizer(tiny.mesh(2, 1))
  images = initial_model.open(root / 'images').load_tokenizer(None)
  jax.tree.map(np.testing.assert_array_equal, result, images)
