"""Fine-tuning starts from a plain Phi that `convert phi` made a Show-o."""

import dataclasses
import json

import fine_tune_runs
import numpy as np
import pytest
import tiny_world
import torch_weights

from conversions import convert
from conversions.tables import phi_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.jobs import fine_tune
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import terminal

# Rows that a plain Phi has beyond those of its tokens, as in the release.
SURPLUS = 3


@pytest.fixture(scope='module')
def parts(base):
  return initial_model.open(base).load(None, None)


@pytest.fixture(scope='module')
def grown(parts, tmp_path_factory):
  """The folder of the Show-o, and the state dict of the plain Phi."""
  folder = tmp_path_factory.mktemp('phi')
  config, lengths = parts.model.config, parts.lengths
  rows = config.vocab.text_size + SURPLUS
  state = {}
  for name, array in showo_table.to_torch(parts.model).items():
    name = name.removeprefix(phi_table.PREFIX)
    if not phi_table.NORMS.search(name):
      state[name] = array[:rows] if name in phi_table.GROWN else array
  record = showo_table.official(config, lengths.max_text) | {
    'model_type': 'phi',
    'vocab_size': rows,
    'hidden_size': config.decoder.width,
    'num_hidden_layers': config.decoder.layers,
    'num_attention_heads': config.decoder.heads,
    'intermediate_size': config.decoder.mlp,
    'initializer_range': 0.05,
  }
  source = torch_weights.write(folder / 'source', state, record)
  arguments = ['phi', str(source), str(folder / 'grown')]
  assert convert.main(arguments, terminal.silent()) == 0
  return folder / 'grown', state


@pytest.fixture(scope='module')
def config(base, parts, grown, tmp_path_factory):
  """Settings of two steps from the grown model."""
  data = tiny_world.files(tmp_path_factory.mktemp('data'), 'preference', 8)
  config = fine_tune_runs.configured(
    grown[0],
    data,
    tokenizer=str(base),
    text=str(base / 'text.json'),
    save_every=1,
  )
  return dataclasses.replace(
    config,
    optim=dataclasses.replace(config.optim, steps=2),
    sizes=model_folder.Sizes(
      parts.model.config.vocab,
      parts.model.config.decoder,
      parts.tokenizer.config,
      parts.lengths,
      parts.grid,
    ),
  )


def test_it_learns_from_finite_losses_and_resumes(
  config, grown, tmp_path, monkeypatch
):
  stops = iter([True])
  with monkeypatch.context() as patch:
    patch.setattr(
      interrupts.StopSignal, '__call__', lambda self: next(stops, False)
    )
    with pytest.raises(interrupts.Stopped, match='after step 1'):
      fine_tune.run(config, str(tmp_path), terminal.silent())
  fine_tune.run(config, str(tmp_path), terminal.silent())
  lines = (tmp_path / 'training' / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == [1, 2]
  for row in rows:
    assert row['train/skipped'] == 0 and row['train/grad_norm'] > 0
    # New rows are small: images begin near the uniform distribution over codes
    # and words, or above.
    assert 0 < row['loss/t2i'] < 20 and 0 < row['loss/mmu'] < 20
  trained = initial_model.open(tmp_path).load(None, None).model
  rows = grown[1][phi_table.GROWN[0]]
  embedding = np.asarray(trained.embed.embedding[...])
  assert np.isfinite(embedding).all()
  assert not np.array_equal(embedding[: len(rows)], rows)


def test_it_starts_with_the_rows_of_phi_and_small_new_ones(
  config, grown, parts
):
  folder, state = grown
  model = initial_model.open(folder).load_transformer(
    config.sizes.transformer, None
  )
  embedding = np.asarray(model.embed.embedding[...])
  rows = state[phi_table.GROWN[0]]
  assert len(embedding) == parts.model.config.vocab.size > len(rows)
  np.testing.assert_array_equal(embedding[: len(rows)], rows)
  new = embedding[len(rows) :]
  assert abs(new.std() - 0.05) < 0.01 and abs(new.mean()) < 0.01
