"""Jobs score captions and match answers as their settings say."""

import shutil
import threading

import command_line
import curate_runs
import jax
import pytest
import text_encoders

from hermesflow_jax.jobs.setup import job_scoring
from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import choice_matchers
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import scorer_settings
from hermesflow_jax.scoring import text_encoder
from hermesflow_jax.sequences import text_similarity

CURATE = f'--config={command_line.ROOT}/configs/curate.py'


@pytest.fixture(scope='module')
def encoders():
  """Settings of small encoders."""
  return {
    'bert': str(text_encoders.converted('bert')),
    'sentence': str(text_encoders.converted('mpnet')),
  }


def scores_of(folder):
  return [
    (row['id'], row['caption_score_win'], row['caption_score_lose'])
    for row in curate_runs.rows_of(folder)
  ]


def test_shards_and_meshes_do_not_change_the_scores(
  base, few, encoders, tmp_path
):
  runs = {
    'a': {'shard': 10, 'mesh': {'data': 1, 'model': 8}},
    'b': {'shard': 3},
    'ngram': {'caption_scorer': 'ngram'},
  }
  for name, changes in runs.items():
    curate_runs.run(
      base,
      tmp_path / name,
      **{'caption_scorer': 'bert', 'encoders': encoders} | changes,
    )
  scores = {name: scores_of(tmp_path / name) for name in runs}
  assert scores['a'] == scores['b'] != scores['ngram']
  assert len({row[1] for row in scores['a']}) > 2


def test_the_same_encoder_elsewhere_continues_a_run(
  base, few, encoders, tmp_path
):
  here = shutil.copytree(encoders['bert'], tmp_path / 'here')

  def run(folder, **changes):
    return curate_runs.run(
      base,
      tmp_path / 'run',
      caption_scorer='bert',
      encoders={'bert': str(folder)} | changes,
    )

  run(here)
  elsewhere = here.rename(tmp_path / 'elsewhere')
  _, output = run(elsewhere)
  assert any('this run is finished' in line for line in output)
  with pytest.raises(ValueError, match='encoders.bert must be a text encoder'):
    run(here)
  with pytest.raises(ValueError, match='other settings: .*bert_encoder'):
    run(encoders['sentence'])
  with pytest.raises(ValueError, match='other settings: .*encoders.dtype'):
    run(elsewhere, dtype='bfloat16')


@pytest.mark.parametrize(
  'config, flag', [(command_line.CONFIG, '--config.play'), (CURATE, '--config')]
)
def test_a_missing_encoder_is_named_with_its_command(
  start, idle, base, tmp_path, config, flag
):
  command_line.one_line(
    start(config, f'--config.init_from={base}', f'{flag}.caption_scorer=bert'),
    "encoders.bert must be a text encoder, got 'checkpoints/bert-large-unc",
    '`python -m conversions.convert bert google-bert/bert-large-uncased '
    'checkpoints/bert-large-uncased`',
    f'give {flag}.caption_scorer=ngram, which needs no encoder',
  )
  command_line.one_line(
    start(
      config,
      f'--config.init_from={base}',
      f'{flag}.free_answers=True',
      f'{flag}.answer_matcher=sentence',
    ),
    'encoders.sentence must be',
    'conversions.convert mpnet sentence-transformers/all-mpnet-base-v2 ',
    f'{flag}.answer_matcher=ngram',
  )
  assert not (tmp_path / 'runs').exists()


def test_what_is_no_encoder_is_refused(start, idle, base, tmp_path):
  flags = [
    command_line.CONFIG,
    f'--config.init_from={base}',
    '--config.play.caption_scorer=sentence',
  ]
  command_line.one_line(
    start(*flags, f'--config.play.encoders.sentence={base}'),
    'encoders.sentence must be a text encoder, got',
    'which is not converted; run `python -m conversions.convert mpnet '
    f'{base} <folder>` and give that folder',
  )
  command_line.one_line(
    start(*flags, '--config.play.encoders.sentence='),
    "encoders.sentence must be a text encoder, got '', no folder",
  )


@pytest.mark.parametrize(
  'flags, message',
  [
    (
      ['--config.play.caption_scorer=no_module:scorer'],
      "must be a function that can be imported, got 'no_module:scorer' (Mod",
    ),
    (
      ['--config.play.free_answers=True']
      + ['--config.play.answer_matcher=json:no'],
      '--config.play.answer_matcher must be a function that can',
    ),
    (
      ['--config.play.caption_scorer=os:sep'],
      "must be a function, got 'os:sep', which is str",
    ),
  ],
)
def test_a_function_that_cannot_be_imported_ends_a_job_at_once(
  start, idle, base, tmp_path, flags, message
):
  command_line.one_line(
    start(command_line.CONFIG, f'--config.init_from={base}', *flags), message
  )
  assert not (tmp_path / 'runs').exists()


def test_a_scorer_of_the_user_makes_pairs(base, few, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'lengths_of_user.py').write_text(
    'def scorer(candidates, references):\n'
    '  return [len(text) for text in candidates]\n'
  )
  curate_runs.run(
    base, tmp_path / 'run', caption_scorer='lengths_of_user:scorer'
  )
  for row in curate_runs.rows_of(tmp_path / 'run'):
    assert row['caption_score_win'] == max(
      len(row['caption_win']), len(row['caption_lose'])
    )


def test_scores_that_are_no_numbers_end_a_job_with_a_line(
  start, base, few, tmp_path
):
  (tmp_path / 'nan_of_user.py').write_text(
    'def scorer(candidates, references):\n'
    '  return [float("nan")] * len(candidates)\n'
  )
  command_line.one_line(
    start(
      CURATE,
      f'--config.init_from={base}',
      '--config.inputs=2',
      '--config.images=2',
      '--config.captions=[{"temperature": 1.0, "top_k": 1}, '
      '{"temperature": 1.0, "top_k": 2}]',
      '--config.caption_scorer=nan_of_user:scorer',
    ),
    'caption_scorer nan_of_user:scorer must return float[4] with finite values '
    "above -1, got nan for the caption 'a ring",
  )


@pytest.mark.parametrize('on_devices', [False, True])
def test_only_a_scorer_on_devices_is_called_by_all_processes(
  base, few, tmp_path, monkeypatch, on_devices
):
  """Others are called by the first process, in a thread of its own."""
  threads = set()

  def scorer(candidates, references):
    threads.add(threading.current_thread() is threading.main_thread())
    return [len(text) for text in candidates]

  scorer.uses_devices = on_devices
  monkeypatch.setitem(text_similarity.SCORERS, 'own', scorer)
  curate_runs.run(base, tmp_path / 'run', caption_scorer='own')
  assert threads == {on_devices}


def test_the_scorer_and_the_matcher_share_an_encoder(encoders):
  mesh = sharding.mesh_from_devices(jax.devices()[:1], 1, 1)
  config = encoder_settings.EncoderSettings(**encoders)
  first, second = (text_encoder.TextEncoders(config, mesh) for _ in range(2))
  assert first.get('sentence') is second.get('sentence')
  assert first.get('sentence') is not first.get('bert')


def test_hashes_are_read_before_one_process_asks_for_them(
  encoders, monkeypatch
):
  """All processes read a checkpoint together; the first alone would fail."""
  read = []
  monkeypatch.setattr(
    encoder_settings.text_encoder_folder, 'content_hash', read.append
  )

  class Play(scorer_settings.ScorerSettings):
    free_answers = True

  play = Play(
    caption_scorer='bert',
    answer_matcher='sentence',
    encoders=encoder_settings.EncoderSettings(**encoders),
  )
  assert len(job_scoring.encoder_hashes(play)) == 2
  assert read == [encoders['bert'], encoders['sentence']]


@pytest.mark.parametrize('free', [False, True])
def test_free_answers_alone_read_the_encoder_of_the_matcher(
  encoders, free, monkeypatch
):
  made = {}
  monkeypatch.setattr(
    job_scoring.job_model,
    'place_on_mesh',
    lambda *arguments: made.update(matcher=arguments[-1]),
  )

  class Play(scorer_settings.ScorerSettings):
    free_answers = free
    answering = caption_prompt = None

  play = Play(
    answer_matcher='sentence',
    encoders=encoder_settings.EncoderSettings(**encoders),
  )
  mesh = sharding.mesh_from_devices(jax.devices()[:1], 1, 1)
  job_scoring.place_on_mesh(None, None, mesh, None, play)
  is_encoder = isinstance(made['matcher'], choice_matchers.EncoderMatcher)
  assert is_encoder == free
  assert list(job_scoring.encoder_hashes(play)) == ['sentence_encoder'] * free
