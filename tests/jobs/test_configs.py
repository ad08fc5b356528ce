"""Every config builds into settings, at every scale."""

import dataclasses
import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
import pytest

import configs.curate
import configs.evaluate
import configs.generate
import configs.pair_dpo
import configs.pretrain
import configs.tokenizer
import configs.understand
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import evaluate
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.jobs import tokenizer
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.models import magvit_config
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.shapes import shape_world

VARIANTS = ('shapes', 'show_o_256', 'show_o_512')
SHOW_O = VARIANTS[1:]


def built(kind, config, job):
  values = config.to_dict()
  assert values.pop('job') == job
  return settings.build(kind, values)


@functools.cache
def self_play(variant):
  config = configs.pair_dpo.get_config(variant)
  return built(pair_dpo.Settings, config, 'pair_dpo')


@functools.cache
def abstract(variant):
  return job_model.abstract_model(self_play(variant).sizes)


def size(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_search_is_off_so_that_runs_from_before_it_resume():
  jobs = {
    'generate': (generate.Settings, configs.generate),
    'evaluate': (evaluate.Settings, configs.evaluate),
  }
  searches = [self_play('shapes').play.search]
  for job, (kind, config) in jobs.items():
    searches.append(built(kind, config.get_config(), job).search)
  assert searches == [search_settings.Search()] * 3
  assert not searches[0].is_on
  assert not self_play('shapes').play.most_images


@pytest.mark.parametrize('variant', configs.pair_dpo.VARIANTS)
def test_each_variant_of_self_play_builds(variant):
  others = {
    'grpo': 6,
    'grpo_hard': 12,
    'answers': 1,
    'small_256': 2,
    'small_512': 2,
  }
  assert self_play(variant).play.rounds == others.get(variant, 3)


def test_candidates_of_hard_inputs_are_curated_apart_as_in_a_round():
  config = built(
    curate.Settings, configs.curate.get_config('grpo_hard'), 'curate'
  )
  play = self_play('grpo_hard').play
  assert config.inputs == self_play('grpo_hard').inputs == 2_400
  for name in ('images', 'first_images', 'easy_score'):
    assert getattr(config, name) == getattr(play, name) is not None


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize(
  'job, config',
  [(generate, configs.generate), (understand, configs.understand)],
)
def test_every_job_starts_from_the_same_model(variant, job, config):
  name = job.__name__.split('.')[-1]
  actual = built(job.Settings, config.get_config(variant), name)
  for field in dataclasses.fields(job_model.ModelSettings):
    reference = getattr(self_play(variant), field.name)
    assert getattr(actual, field.name) == reference


def test_no_variant_means_the_embedded_world():
  assert configs.pair_dpo.get_config() == configs.pair_dpo.get_config('shapes')


@pytest.mark.parametrize('variant', configs.pair_dpo.EMBEDDED[1:])
def test_all_variants_of_the_embedded_world_draw_its_scenes(variant):
  for config in (configs.generate, configs.evaluate):
    actual, expected = config.get_config(variant), config.get_config()
    for name in ('prompts', 'sources', 'benchmarks', 'init_from'):
      assert actual.get(name) == expected.get(name)


def test_an_unknown_variant_is_refused_with_those_there_are():
  with pytest.raises(
    ValueError,
    match="shapes, paper, grpo, grpo_hard, answers, show_o_256, s.* got 'show_o'",
  ):
    configs.pair_dpo.get_config('show_o')


def test_the_base_model_trains_on_the_tokenizer_that_was_made_for_it():
  created = built(
    tokenizer.Settings, configs.tokenizer.get_config(), 'tokenizer'
  )
  used = built(pretrain.Settings, configs.pretrain.get_config(), 'pretrain')
  assert used.tokenizer == created.export
  assert used.world == created.world
  assert shape_world.SIZE % created.sizes.reduction == 0


def test_the_caption_samplers_are_the_official_ones():
  for variant in VARIANTS:
    assert (
      self_play(variant).play.captions == candidate_generation.CAPTION_SAMPLERS
    )


def scorer_settings(job, **changes):
  """Returns (type, JSON settings, the section with `caption_scorer`)."""
  if job == 'curate':
    config = configs.curate.get_config()
    config.update(changes)
    values = settings.to_json_types(built(curate.Settings, config, job))
    return curate.Settings, values, values
  config = configs.pair_dpo.get_config()
  config.play.update(changes)
  values = settings.to_json_types(built(pair_dpo.Settings, config, job))
  return pair_dpo.Settings, values, values['play']


@pytest.mark.parametrize(
  'names',
  [('caption_scorer',), ('caption_scorer', 'answer_matcher', 'encoders')],
)
@pytest.mark.parametrize('job', ['curate', 'pair_dpo'])
def test_a_run_without_a_caption_scorer_has_the_default(job, names):
  kind, values, section = scorer_settings(job)
  expected = identities.identity_of(kind, values)
  for name in names:
    del section[name]
  assert identities.identity_of(kind, values) == expected


@pytest.mark.parametrize('job', ['curate', 'pair_dpo'])
def test_another_caption_scorer_is_another_run(job, monkeypatch):
  monkeypatch.setitem(
    text_similarity.SCORERS, 'own', lambda a, b: [1.0] * len(a)
  )
  kind, ngram, _ = scorer_settings(job)
  _, own, _ = scorer_settings(job, caption_scorer='own')
  assert identities.identity_of(kind, ngram) != identities.identity_of(
    kind, own
  )


@pytest.mark.parametrize('job', ['curate', 'pair_dpo'])
def test_an_unknown_caption_scorer_is_refused_with_those_there_are(job):
  with pytest.raises(
    ValueError, match="ngram, bert, sentence, clip, .* got 'no'"
  ):
    scorer_settings(job, caption_scorer='no')


def test_variants_do_not_share_what_they_change():
  before = configs.pair_dpo.get_config('shapes').to_dict()
  configs.pair_dpo.get_config('show_o_512').play.images = 99
  changed = configs.pair_dpo.get_config('shapes')
  changed.play.captions[0]['top_k'] = 99
  assert configs.pair_dpo.get_config('shapes').to_dict() == before


@pytest.mark.parametrize('variant', SHOW_O)
def test_show_o_has_the_size_of_its_checkpoint(variant):
  model, images = abstract(variant)
  v, d, f = 58_498, 2_048, 8_192
  ends = v * d + d * v + v
  attention, norms = 4 * (d * d + d), 2 * d + 4 * (d // 32)
  mlp = d * f + f + f * d + d
  assert size(model) == ends + 24 * (attention + norms + mlp) + 2 * d
  assert round(size(model) / 1e9, 3) == 1.448
  assert round(size(images) / 1e6, 1) == 95.4
  assert images.config == magvit_config.SHOW_O


@pytest.mark.parametrize('variant', SHOW_O)
def test_show_o_scores_whole_rows(variant):
  config = self_play(variant)
  lengths, vocab = config.sizes.lengths, config.sizes.vocab
  model = abstract(variant)[0]

  def logits(model, tokens, mask, positions):
    hidden, _ = model(tokens, mask, positions)
    return model.logits(hidden)

  for length in (lengths.mmu, lengths.max_text + model.config.image_tokens + 3):
    tokens = jax.ShapeDtypeStruct((2, length), jnp.int32)
    mask = jax.ShapeDtypeStruct((2, length, length), bool)
    actual = nnx.eval_shape(logits, model, tokens, mask, tokens)
    assert (actual.shape, actual.dtype) == (
      (2, length, vocab.size),
      jnp.float32,
    )


@pytest.mark.parametrize(
  'variant, pixels', [('show_o_256', 256), ('show_o_512', 512)]
)
def test_show_o_draws_images_of_its_resolution(variant, pixels):
  config = self_play(variant)
  _, images = abstract(variant)
  codes = jax.ShapeDtypeStruct((1, *config.sizes.grid), jnp.int32)
  actual = nnx.eval_shape(lambda m, c: m.decode(c), images, codes)
  assert actual.shape == (1, pixels, pixels, 3)
  z = nnx.eval_shape(lambda m, x: m.encode(x), images, actual)
  assert z.shape == (1, *config.sizes.grid, 13)


@pytest.mark.parametrize('variant', SHOW_O)
def test_show_o_names_the_command_that_makes_what_is_missing(variant, tmp_path):
  config = dataclasses.replace(
    self_play(variant), init_from=str(tmp_path / variant)
  )
  with pytest.raises(ValueError) as error:
    job_model.locate(config)
  message = str(error.value)
  assert str(tmp_path / variant) in message
  assert 'python -m conversions.convert showo' in message
  assert f'checkpoints/{variant}' in message
  assert '\n' not in message
