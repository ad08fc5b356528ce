"""Rounds by `curate` and `learn` are those of the main job."""

import dataclasses
import json
import pathlib

from flax import nnx
import jax
import numpy as np
import pytest
import tiny_world

import configs.curate
import configs.learn
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

QUIET = terminal.silent()


def main_job(base, fresh, reference='round', **changes):
  """Settings of two rounds; winners stay or are beaten."""
  config = tiny_world.self_play(base)
  play = dataclasses.replace(
    config.play, reference=reference, seed=5, shard=4, **changes
  )
  return dataclasses.replace(config, fresh_inputs=fresh, play=play)


def curation(config, number, start, before, **changes):
  """Settings of `curate` for a round of the main job."""
  values = configs.curate.get_config()
  del values.job
  play = dataclasses.asdict(config.play)
  values.update(
    {
      'init_from': str(start),
      'inputs': config.inputs,
      'fresh_inputs': config.fresh_inputs,
      'round': number,
      'before': str(before),
      'images': play['images'],
      'captions': play['captions'],
      'sampler': play['curation_sampler'],
      'rules': play['rules'],
      'seed': play['seed'],
      'shard': play['shard'],
      'chunk': config.chunk,
    }
    | changes
  )
  return settings.build(curate.Settings, values.to_dict())


def lesson(config, number, start, pairs, reference='', **changes):
  """Settings of `learn` for a round of the main job."""
  values = configs.learn.get_config()
  del values.job
  play = dataclasses.asdict(config.play)
  names = [
    field.name for field in dataclasses.fields(learning_config.LearningConfig)
  ]
  values.update(
    {
      'init_from': str(start),
      'pairs': str(pairs),
      'round': number,
      'reference': str(reference),
      'both': play['rules']['both'],
    }
    | {name: play[name] for name in names}
    | changes
  )
  return settings.build(learn.Settings, values.to_dict())


def lines(path: pathlib.Path):
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  # A curation's own file also has the codes of the real images.
  return [{k: v for k, v in row.items() if k != 'codes'} for row in rows]


def assert_same_weights(model, other):
  jax.tree.map(np.testing.assert_array_equal, model, other)


def model_of(run, number):
  """The model after a round of the main job."""
  return trained_model.load_parts(str(run / 'checkpoints' / str(number))).model


@pytest.mark.parametrize('fresh, reference', [(True, 'round'), (False, 'base')])
def test_rounds_apart_are_the_rounds_of_the_main_job(
  base, tmp_path, fresh, reference
):
  config = main_job(base, fresh, reference)
  whole = tmp_path / 'whole'
  pair_dpo.run(config, str(whole), QUIET)
  start, before = base, ''
  for number in (1, 2):
    pairs = tmp_path / f'pairs_{number}'
    curate.run(curation(config, number, start, before), str(pairs), QUIET)
    expected = lines(whole / f'round_{number}' / 'pairs.jsonl')
    assert lines(pairs / 'pairs.jsonl') == expected
    folder = tmp_path / f'learned_{number}'
    frozen = base if number > 1 and reference == 'base' else ''
    learn.run(lesson(config, number, start, pairs, frozen), str(folder), QUIET)
    assert_same_weights(
      trained_model.load_parts(str(folder / 'model')).model,
      model_of(whole, number),
    )
    start, before = folder / 'model', pairs
  ids = [
    {row['id'] for row in lines(tmp_path / f'pairs_{n}' / 'pairs.jsonl')}
    for n in (1, 2)
  ]
  assert ids[0].isdisjoint(ids[1]) if fresh else ids[0] == ids[1]


@pytest.fixture(scope='module')
def first(base, tmp_path_factory):
  """(settings, the folder of a main job of one round, of its curation)."""
  root = tmp_path_factory.mktemp('first')
  config = main_job(base, fresh=False, rounds=1)
  pair_dpo.run(config, str(root / 'run'), QUIET)
  curate.run(curation(config, 1, base, ''), str(root / 'pairs'), QUIET)
  return config, root / 'run', root / 'pairs'


def test_a_round_of_a_run_is_as_good_as_a_curation(base, first, tmp_path):
  config, run, pairs = first
  outcomes = []
  for name, before in (('run', run / 'round_1'), ('pairs', pairs)):
    curate.run(curation(config, 2, base, before), str(tmp_path / name), QUIET)
    outcomes.append((tmp_path / name / 'pairs.jsonl').read_bytes())
  assert outcomes[0] == outcomes[1]
  # The pairs of the round before are heard: losers come from there.
  curate.run(
    curation(config, 2, base, '', fresh_inputs=True),
    str(tmp_path / 'none'),
    QUIET,
  )
  rows, old = (
    lines(tmp_path / 'run' / 'pairs.jsonl'),
    lines(pairs / 'pairs.jsonl'),
  )
  for row, previous in zip(rows, old, strict=True):
    assert row['codes_lose'] in (previous['codes_win'], previous['codes_lose'])


def test_what_was_curated_from_is_part_of_the_run(base, first, tmp_path):
  config, run, pairs = first
  later = curation(config, 2, base, pairs)
  curate.run(later, str(tmp_path / 'run'), QUIET)
  other = tmp_path / 'other'
  other.mkdir()
  text = (run / 'round_1' / 'pairs.jsonl').read_text().splitlines()
  (other / 'pairs.jsonl').write_text('\n'.join(text[:-1]) + '\n')
  with pytest.raises(ValueError, match='config.pairs_before'):
    curate.run(
      dataclasses.replace(later, before=str(other)),
      str(tmp_path / 'run'),
      QUIET,
    )


@pytest.mark.parametrize(
  'prepare, message',
  [
    (lambda folder: None, 'before must be the folder of a curation, or of a'),
    (
      lambda folder: (folder / 'pairs.jsonl').write_text('{"id": "a"}\n'),
      'before must be the folder of a curation, or of a',
    ),
    (
      lambda folder: (folder / 'pairs.jsonl').write_text(''),
      'before must hold pairs of the same inputs',
    ),
  ],
)
def test_what_is_no_round_before_is_refused(
  base, first, tmp_path, prepare, message
):
  folder = tmp_path / 'before'
  folder.mkdir()
  prepare(folder)
  with pytest.raises(ValueError, match=message):
    curate.run(
      curation(first[0], 2, base, folder), str(tmp_path / 'run'), QUIET
    )


def test_pairs_before_of_another_tokenizer_are_refused(base, first, tmp_path):
  config, run, _ = first
  rows = lines(run / 'round_1' / 'pairs.jsonl')
  for row in rows:
    for side in ('codes_win', 'codes_lose'):
      row[side] = row[side][:3]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (tmp_path / 'pairs.jsonl').write_text(text)
  message = 'before must hold images of 16 codes, .* with 3 codes'
  with pytest.raises(ValueError, match=message):
    curate.run(curation(config, 2, base, tmp_path), str(tmp_path / 'a'), QUIET)


def test_pairs_before_that_are_damaged_are_named(base, first, tmp_path):
  config, _, pairs = first
  folder = tmp_path / 'before'
  folder.mkdir()
  (folder / 'manifest.json').write_bytes((pairs / 'manifest.json').read_bytes())
  text = (pairs / 'pairs.jsonl').read_text()
  (folder / 'pairs.jsonl').write_text(text.replace('0', '1'))
  with pytest.raises(ValueError, match='pairs.jsonl is damaged'):
    curate.run(curation(config, 2, base, folder), str(tmp_path / 'run'), QUIET)


@pytest.mark.parametrize(
  'fresh, number, before, message',
  [
    (True, 0, '', 'round must be at least 1, got 0'),
    (True, 1, 'x', "before must be '' in round 1, got 'x'"),
    (False, 2, '', 'before must be a folder in round 2'),
  ],
)
def test_rounds_that_make_no_sense_are_refused(
  base, fresh, number, before, message
):
  with pytest.raises(ValueError, match=message):
    curation(main_job(base, fresh), number, base, before)


def test_pairs_teach_in_the_round_that_they_are_for(base, first, tmp_path):
  config, _, pairs = first
  with pytest.raises(
    ValueError, match='round must be 1, the round of the pairs in'
  ):
    learn.run(lesson(config, 2, base, pairs), str(tmp_path / 'run'), QUIET)


def test_a_reference_of_another_size_is_refused(base, first, tmp_path):
  config, _, pairs = first
  other = tiny_world.bundle(tmp_path / 'other')
  model = model_bundle.load_bundle(other)
  # One block more than the model that learns.
  deeper = dataclasses.replace(
    model.model.config,
    decoder=dataclasses.replace(model.model.config.decoder, layers=2),
  )
  model_bundle.save_model(
    str(other),
    showo.ShowO(deeper, rngs=nnx.Rngs(0)),
    model.text,
    model.lengths,
    model.grid,
  )
  with pytest.raises(ValueError, match='reference must be a model of the'):
    learn.run(
      lesson(config, 1, base, pairs, other), str(tmp_path / 'run'), QUIET
    )


def test_the_reference_is_part_of_the_run(base, first, tmp_path):
  config, _, pairs = first
  run = str(tmp_path / 'run')
  learn.run(lesson(config, 1, base, pairs, base), run, QUIET)
  other = tiny_world.bundle(tmp_path / 'other', seed=1)
  with pytest.raises(ValueError, match='other settings: .*frozen'):
    learn.run(lesson(config, 1, base, pairs, other), run, QUIET)
