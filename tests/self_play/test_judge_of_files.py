"""The base model judges images of files, but never its own images."""

import collections
import dataclasses
import gc
import json

import file_runs
import jax
import jax.numpy as jnp
import pytest
import self_play_runs
import simple_samplers

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.sampling import serving_weights


@pytest.fixture(scope='module')
def config(base, tmp_path_factory):
  return file_runs.two_rounds(
    file_runs.one_round(base, tmp_path_factory.mktemp('files'))
  )


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  """(results, the folder of a run that nothing has stopped)."""
  root = tmp_path_factory.mktemp('finished') / 'run'
  results, _ = file_runs.run_and_hear(config, root)
  return results, root


def test_no_number_compares_a_model_with_itself(finished):
  """The base judges: its own candidates and images are round 1's and 0's."""
  results, root = finished
  base, first, second = results['rounds']
  assert 'own_score' not in base and 'own_score' in first
  assert 'generation is its own score' in base['note'] and 'note' not in first
  row = json.loads((root / 'round_0/scenes.jsonl').read_text().splitlines()[0])
  assert 'own_score' not in row and 'own' not in row and 'judged' in row
  assert first['curation'].keys() == {'drops', 'note', 'seconds'}
  assert 'is not measured' in first['curation']['note']
  # The second round's candidates are of a model that learned.
  assert 'note' not in second['curation']
  assert {'self_score', 'judge_score'} <= second['curation'].keys()
  page = (root / 'report.html').read_text()
  assert page.count(first['curation']['note']) == 1
  assert page.count(base['note']) == 1


def test_a_model_that_learned_nothing_is_still_the_judge(
  config, tmp_path, monkeypatch
):
  monkeypatch.setattr(
    pair_selection,
    'filter_pair',
    lambda pair, *args, **bounds: dataclasses.replace(
      pair, dropped='by a test'
    ),
  )
  results, _ = file_runs.run_and_hear(config, tmp_path / 'run')
  for row in results['rounds']:
    assert 'own_score' not in row
  for row in results['rounds'][1:]:
    assert 'judge_score' not in row['curation']


def test_pairs_are_safe_before_the_judge_is_asked(
  config, finished, tmp_path, monkeypatch
):
  """A stop among its answers loses no pair, and one shard of answers.

  The run that was not stopped has larger shards.
  """
  config = dataclasses.replace(
    config, play=dataclasses.replace(config.play, shard=2)
  )
  folder, scores, calls = (
    tmp_path / 'run' / 'round_2',
    judge_agreement.agreement_scores,
    [],
  )

  def stopping(judge, codes, questions):
    assert (folder / 'pairs.jsonl').exists() and (folder / 'codes.npz').exists()
    assert not (folder / 'curation.json').exists()
    # Of the candidates of a shard, two inputs; never of all six.
    assert len(codes) <= 2
    calls.append(codes.tolist())
    if len(calls) == 4:
      raise KeyboardInterrupt
    return scores(judge, codes, questions)

  monkeypatch.setattr(judge_agreement, 'agreement_scores', stopping)
  with pytest.raises(KeyboardInterrupt):
    file_runs.run_and_hear(config, tmp_path / 'run')
  before = (folder / 'pairs.jsonl').read_bytes()
  judged = sorted(path.name for path in (folder / 'judged').glob('*.npz'))
  assert 1 <= len(judged) < 3
  resumed, _ = file_runs.run_and_hear(config, tmp_path / 'run')
  assert (folder / 'pairs.jsonl').read_bytes() == before
  counts = collections.Counter(map(str, calls))
  # What was asked when the stop came, and its neighbours in the shard.
  assert sum(count - 1 for count in counts.values()) <= 2
  resumed, expected = (
    self_play_runs.timeless(results['rounds'])
    for results in (resumed, finished[0])
  )
  assert resumed == expected


def held():
  """Bytes of all live arrays of bfloat16."""
  gc.collect()
  return sum(a.nbytes for a in jax.live_arrays() if a.dtype == jnp.bfloat16)


def test_nothing_that_samplers_read_is_alive_while_a_round_learns(
  config, request, tmp_path, monkeypatch
):
  """Models served in bfloat16 are copies: of players, and of the judge."""
  sizes, _ = model_bundle.read_sizes(config.init_from)
  decoder = dataclasses.replace(sizes.decoder, dtype='bfloat16')
  config = dataclasses.replace(
    config, sizes=dataclasses.replace(sizes, decoder=decoder)
  )
  served, learning_now = [], []
  ready = serving_weights.prepare_for_serving

  def serving(*args, **kwargs):
    model = ready(*args, **kwargs)
    served.append(held())
    return model

  def watched(unified, *args, **kwargs):
    learning_now.append(held())
    return jax.tree.map(lambda a: a * 1.01, unified.model)

  before = held()
  # Collections look at what this test makes, and at nothing older.
  gc.freeze()
  request.addfinalizer(gc.unfreeze)
  simple_samplers.use(monkeypatch)
  monkeypatch.setattr(serving_weights, 'prepare_for_serving', serving)
  monkeypatch.setattr(learning, 'learn_round', watched)
  file_runs.run_and_hear(config, tmp_path / 'run')
  assert min(served) > before, 'the test sees no served model'
  assert learning_now == [before] * 2
