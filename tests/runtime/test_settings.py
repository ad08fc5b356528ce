"""Mappings become dataclasses, or every fault is named."""

import dataclasses
import math
import typing
import typing

import pytest

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.jobs.setup import training_schedule
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.shapes import shape_world
from hermesflow_jax.training import adamw
from hermesflow_jax.training import pretraining
from hermesflow_jax.training import tokenizer_loss


@dataclasses.dataclass(frozen=True)
class Inner:
  rate: settings.PositiveFloat
  steps: typing.Annotated[int, settings.between(1, 9)] = 3

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class Outer:
  name: str
  flag: bool
  inner: Inner
  sizes: tuple[int, ...]
  many: tuple[Inner, ...] = ()
  maybe: Inner | None = None


GOOD = {'name': 'a', 'flag': True, 'inner': {'rate': 0.5}, 'sizes': [1, 2]}


def test_a_mapping_becomes_the_dataclass():
  values = GOOD | {'many': [{'rate': 1, 'steps': 2}], 'maybe': {'rate': 2.0}}
  found = settings.build(Outer, values)
  assert found == Outer(
    'a', True, Inner(0.5), (1, 2), (Inner(1.0, 2),), Inner(2.0)
  )
  assert isinstance(found.many[0].rate, float)


def test_none_is_kept_where_it_may_be():
  assert settings.build(Outer, GOOD | {'maybe': None}).maybe is None


@pytest.mark.parametrize(
  'change, said',
  [
    ({'nam': 1}, "config.nam is not a setting, did you mean 'name'?"),
    ({'zzz': 1}, 'config.zzz is not a setting'),
    ({'name': 3}, 'config.name must be str, got 3'),
    ({'flag': 1}, 'config.flag must be bool, got 1'),
    ({'inner': 1}, 'config.inner must be a section, got 1'),
    ({'inner': {}}, 'config.inner.rate is missing'),
    (
      {'inner': {'rate': math.nan}},
      'config.inner.rate must be a finite number, got nan',
    ),
    (
      {'inner': {'rate': -math.inf}},
      'config.inner.rate must be a finite number, got -inf',
    ),
    ({'inner': {'rate': True}}, 'config.inner.rate must be float, got True'),
    ({'inner': {'rate': 0}}, 'config.inner.rate must be more than 0, got 0.0'),
    (
      {'inner': {'rate': 1, 'steps': 0}},
      'config.inner.steps must be between 1 and 9, got 0',
    ),
    (
      {'inner': {'rate': 1, 'steps': 10}},
      'config.inner.steps must be between 1 and 9, got 10',
    ),
    (
      {'inner': {'rate': 1, 'steps': 1.0}},
      'config.inner.steps must be int, got 1.0',
    ),
    ({'sizes': 3}, 'config.sizes must be a list, got 3'),
    ({'sizes': [1, 'b']}, "config.sizes[1] must be int, got 'b'"),
    (
      {'many': [{'rate': 1}, {'rat': 1}]},
      "config.many[1].rat is not a setting, did you mean 'rate'?; "
      'config.many[1].rate is missing',
    ),
    (
      {'maybe': {'rate': -1}},
      'config.maybe.rate must be more than 0, got -1.0',
    ),
  ],
)
def test_a_fault_is_named_with_its_place_and_value(change, said):
  with pytest.raises(ValueError) as error:
    settings.build(Outer, GOOD | change)
  assert str(error.value) == said


def test_all_faults_are_named_at_once():
  values = {'name': 1, 'inner': {'rate': math.nan, 'stps': 1}, 'sizes': 0}
  with pytest.raises(ValueError) as error:
    settings.build(Outer, values)
  for name in ('name', 'flag', 'inner.rate', 'inner.stps', 'sizes'):
    assert f'config.{name} ' in str(error.value)
  assert '\n' not in str(error.value)


@dataclasses.dataclass(frozen=True)
class Bounded:
  rate: typing.Annotated[float, settings.at_least(0), settings.below(1)]
  mode: typing.Annotated[str, settings.one_of('a', 'b')] = 'a'
  steps: settings.PositiveInt | None = settings.not_identity(default=None)
  shares: tuple[settings.Fraction, ...] = ()

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class MoreBounded(Bounded):
  seed: settings.NonNegativeInt = 0


def test_direct_construction_names_all_values_out_of_bounds():
  with pytest.raises(ValueError) as error:
    MoreBounded(1.0, 'c', 0, (0.5, 2.0), -1)
  assert str(error.value) == (
    'rate must be less than 1, got 1.0; '
    "mode must be 'a' or 'b', got 'c'; "
    'steps must be at least 1, got 0; '
    'shares[1] must be between 0 and 1, got 2.0; '
    'seed must be at least 0, got -1'
  )


def test_build_names_the_same_bounds_with_their_place():
  values = {'rate': math.nan, 'mode': 'c', 'shares': [2], 'seed': 0}
  with pytest.raises(ValueError) as error:
    settings.build(MoreBounded, values, 'job')
  assert str(error.value) == (
    'job.rate must be a finite number, got nan; '
    "job.mode must be 'a' or 'b', got 'c'; "
    'job.shares[0] must be between 0 and 1, got 2.0'
  )


def test_values_within_bounds_are_accepted():
  assert settings.build(MoreBounded, {'rate': 0}) == MoreBounded(0.0)


def test_a_value_that_is_no_number_meets_no_bound():
  with pytest.raises(ValueError, match='rate must be at least 0, got nan'):
    Bounded(math.nan)


MAGVIT = dict(
  ch=4,
  encoder_ch_mult=(1,),
  decoder_ch_mult=(1,),
  encoder_num_res_blocks=(1,),
  decoder_num_res_blocks=(1,),
  z_channels=4,
  num_groups=2,
)
RECORDS = [
  (
    adamw.AdamWConfig,
    dict(lr=0.1, steps=1),
    [
      ('lr', 0.0),
      ('steps', 0),
      ('warmup', 1.5),
      ('final', -0.1),
      ('b1', -0.5),
      ('b2', 2.0),
      ('eps', 0.0),
      ('weight_decay', -1.0),
      ('clip', 0.0),
    ],
  ),
  (
    objective_config.ObjectiveConfig,
    {},
    [
      ('beta', 0.0),
      ('und_weight', -1.0),
      ('gen_weight', -1.0),
      ('gen_sft_weight', -1.0),
      ('und_sft_weight', -1.0),
      ('masks', 0),
      ('drop_condition', 1.1),
    ],
  ),
  (pair_selection.PairRules, {}, [('least_win', 1.5), ('least_margin', -0.1)]),
  (
    batched.Decoding,
    dict(temperature=1.0, top_k=1),
    [('temperature', 0.0), ('top_k', 0)],
  ),
  (
    maskgit.MaskGITSampler,
    dict(steps=1, guidance=0.0),
    [
      ('steps', 0),
      ('guidance', -1.0),
      ('temperature', -1.0),
      ('code_temperature', 0.0),
    ],
  ),
  (
    pretraining.TaskMixture,
    {},
    [
      ('drop_condition', -0.1),
      ('caption_share', 1.1),
      ('t2i', -1.0),
      ('mmu', -1.0),
      ('lm', -1.0),
    ],
  ),
  (
    tokenizer_loss.LossWeights,
    dict(entropy=0.0, commitment=0.0, foreground=1.0),
    [('entropy', -1.0), ('commitment', -1.0), ('foreground', -1.0)],
  ),
  (
    token_rows.Lengths,
    dict(max_text=8, mmu=8, prompt=8, lm=8, reply=8),
    [('max_text', 0), ('mmu', 0), ('prompt', -1), ('lm', 0), ('reply', 0)],
  ),
  (
    phi.PhiConfig,
    {},
    [
      ('width', 0),
      ('layers', 0),
      ('heads', 0),
      ('heads', 3),
      ('mlp', 0),
      ('rotary_fraction', 1.1),
      ('rope_theta', 0.0),
      ('norm_eps', 0.0),
      ('unroll', 0),
    ],
  ),
  (
    magvit_config.MagvitConfig,
    MAGVIT,
    [
      ('ch', 0),
      ('z_channels', 0),
      ('patch', 0),
      ('num_groups', 3),
      ('kernel', 0),
      ('decoder_ch_mult', (1, 1)),
    ],
  ),
  (
    shape_world.World,
    dict(seed=0, jitter=0),
    [('seed', -1), ('jitter', -1), ('jitter', 99)],
  ),
  (
    training_schedule.TrainingSchedule,
    dict(batch=1, log_every=1, save_every=0),
    [('batch', 0), ('log_every', 0), ('save_every', -1)],
  ),
]


@pytest.mark.parametrize(
  'kind, good, field, value',
  [
    (kind, good, field, value)
    for kind, good, bad in RECORDS
    for field, value in bad
  ],
)
def test_impossible_values_are_refused_by_name(kind, good, field, value):
  settings.build(kind, good)
  with pytest.raises(ValueError, match=field):
    settings.build(kind, good | {field: value})


@pytest.mark.parametrize(
  'name', ['cosin', '', 'pow', 'pow0', 'pow-1', 'pownan', 'powinf']
)
def test_an_unknown_schedule_is_refused(name):
  with pytest.raises(ValueError, match='wanted one of'):
    mask_schedules.parse_schedule(name)


@dataclasses.dataclass(frozen=True)
class Part:
  size: int
  pieces: int = settings.not_identity(default=1)


@dataclasses.dataclass(frozen=True)
class Run:
  name: str
  where: str = settings.not_identity()
  rounds: int = settings.not_identity()
  part: Part | None = None
  parts: tuple[Part, ...] = ()
  added: float = 0.5


def test_what_is_free_is_no_part_of_an_identity_at_any_depth():
  run = Run('a', 'here', 3, Part(1, 8), (Part(2, 8), Part(3)))
  assert settings.identity(Run, settings.to_json_types(run)) == {
    'name': 'a',
    'part': {'size': 1},
    'parts': [{'size': 2}, {'size': 3}],
    'added': 0.5,
  }
  other = Run('a', 'there', 5, Part(1, 2), (Part(2), Part(3, 4)))
  assert settings.identity(
    Run, settings.to_json_types(other)
  ) == settings.identity(Run, settings.to_json_types(run))


def test_a_record_of_an_earlier_release_has_defaults_and_keeps_the_rest():
  """A setting that came later did what its default does."""
  old = {'name': 'a', 'where': 'x', 'rounds': 2, 'sums': {'w': 'ab'}}
  assert settings.identity(Run, old) == {
    'name': 'a',
    'part': None,
    'parts': [],
    'added': 0.5,
    'sums': {'w': 'ab'},
  }
