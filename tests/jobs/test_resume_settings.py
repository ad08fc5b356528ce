"""Which settings of each job may change when a run resumes."""

import dataclasses

import pytest

from hermesflow_jax.benchmarks import registry
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import data
from hermesflow_jax.jobs import evaluate
from hermesflow_jax.jobs import fine_tune
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.jobs import tokenizer
from hermesflow_jax.jobs import understand
from hermesflow_jax.runtime import type_hints

# Free: how a run is computed, how far it goes, what it writes beside.
DECODER = 'decoder.remat decoder.unroll decoder.attention'
MODEL = 'mesh missing chunk sizes.' + DECODER.replace(' ', ' sizes.')
LOOP = (
  'optim.accumulate label_rows log_every save_every sample_every profile_steps'
)
PART = 'objective.group_part'
PLAY = 'play.' + f'rounds {LOOP} {PART}'.replace(' ', ' play.')
# Where and how fast a judge is asked. The judge's answers are kept.
JUDGE = 'url key_variable timeout retries rate parallel probe cache answers'
REWARD = ' '.join(
  f'http_reward.{name}'
  for name in (
    'url key_variable timeout retries rate parallel probe cache '
    'images_at_once'.split()
  )
)
FREE = {
  generate: f'{MODEL} examples',
  understand: MODEL,
  # The images are checked again whenever the job runs.
  data: 'decode sheet threads official',
  # `fresh_inputs` and `least_win` are compared where they change a result:
  # `contents` of the claim have them.
  curate: f'{MODEL} fresh_inputs official {REWARD}',
  learn: f'{MODEL} {LOOP} {PART} least_win',
  pair_dpo: f'{MODEL} {PLAY} gallery official unseen judge.'
  + JUDGE.replace(' ', ' judge.')
  + f' play.{REWARD.replace(" ", " play.")}',
  evaluate: f'{MODEL} judge.' + JUDGE.replace(' ', ' judge.'),
  pretrain: f'mesh {DECODER} optim.accumulate log_every save_every export',
  tokenizer: (
    'mesh optim.accumulate schedule.log_every schedule.save_every export '
    'threads'
  ),
  fine_tune: (
    f'{MODEL} optim.accumulate label_rows threads log_every save_every '
    'profile_steps previews measure_every '
    'new_model.decoder.remat new_model.decoder.unroll '
    'new_model.decoder.attention'
  ),
}
# Paths: the hashes of their content are compared.
PARTS = 'init_from tokenizer text adapters'
SOURCE = 'annotations images questions'.split()
PATHS = {
  generate: f'{PARTS} file image mask',
  # `images` of `understand` are names in its results, compared with hashes.
  understand: f'{PARTS} vision ' + ' '.join(f'files.{name}' for name in SOURCE),
  curate: f'{PARTS} vision before encoders.bert encoders.sentence encoders.clip '
  + ' '.join(f'files.{name}' for name in SOURCE),
  learn: f'{PARTS} vision pairs reference images',
  pair_dpo: f'{PARTS} vision play.encoders.bert play.encoders.sentence play.encoders.clip '
  'judge.init_from judge.tokenizer judge.text judge.vision '
  + ' '.join(
    f'files.{part}.{name}' for part in ('inputs', 'held_out') for name in SOURCE
  ),
  data: 'text ' + ' '.join(f'files.{name}' for name in SOURCE),
  evaluate: f'{PARTS} vision models encoders.bert encoders.sentence '
  'encoders.clip judge.init_from judge.tokenizer judge.text judge.vision '
  'measures.inception measures.reference '
  + ' '.join(
    f'sources.{name}.{field}'
    for name in registry.BENCHMARKS
    for field in ('path', 'images', 'questions')
  ),
  pretrain: 'tokenizer init_from',
  tokenizer: 'init_from ' + ' '.join(f'files.{name}' for name in SOURCE),
  fine_tune: f'{PARTS} lm.annotations held_out.lm.annotations '
  + ' '.join(
    f'{part}{task}.{name}'
    for part in ('', 'held_out.')
    for task in ('t2i', 'mmu')
    for name in SOURCE
  ),
}
# Free until the first checkpoint.
LEARN = 'objective compat optim lora mask_schedule epochs batch'
LEARNING = {
  learn: LEARN,
  pair_dpo: f'answer_inputs play.reference play.{LEARN.replace(" ", " play.")}',
}
# Compared, though they may seem to change no result.
COMPARED = {
  'shard': 'its size is that of the files that a stopped curation has left',
  'on_error': 'it decides which records are inputs if an image breaks later',
  'evaluated': 'the results are those of this number of scenes',
  'stop': 'the results are those of this step',
  'wave': 'drafts are compared within a wave, so it decides who goes on',
  'dtype': 'results differ by more than the order of sums',
}


def classified(kind, prefix=''):
  """Yields (setting, 'free', 'path', 'learning' or 'compared')."""
  hints = type_hints.hints(kind)
  for field in dataclasses.fields(kind):
    hint = hints[field.name]
    for unwrap in (type_hints.optional_type, type_hints.element_type):
      hint = type_hints.split_annotation(hint)[0]
      hint = unwrap(hint) or hint
    hint = type_hints.split_annotation(hint)[0]
    parts = field.metadata.get('no_part_of', ())
    if 'run' in parts:
      yield prefix + field.name, 'free'
    elif 'content' in field.metadata:
      yield prefix + field.name, 'path'
    else:
      nested = dataclasses.is_dataclass(hint)
      inner = classified(hint, f'{prefix}{field.name}.') if nested else ()
      is_learning = 'untrained' in parts
      if is_learning:
        yield prefix + field.name, 'learning'
      elif not nested:
        yield prefix + field.name, 'compared'
      yield from (row for row in inner if row[1] == 'free' or not is_learning)


@pytest.mark.parametrize('job', FREE, ids=lambda job: job.__name__)
def test_only_the_listed_settings_may_change(job):
  actual = {'free': set(), 'path': set(), 'learning': set(), 'compared': set()}
  for name, kind in classified(job.Settings):
    actual[kind].add(name)
  assert actual['free'] == set(FREE[job].split())
  assert actual['path'] == set(PATHS[job].split())
  assert actual['learning'] == set(LEARNING.get(job, '').split())


def test_settings_that_seem_harmless_are_compared_with_a_reason():
  compared = {
    name.rpartition('.')[2]
    for job in FREE
    for name, kind in classified(job.Settings)
    if kind == 'compared'
  }
  assert COMPARED.keys() <= compared
  # Names of the free settings of other jobs, and of folders.
  suspicious = {
    name.rpartition('.')[2] for names in FREE.values() for name in names.split()
  } - {'fresh_inputs', 'least_win'}
  assert not compared & suspicious
