"""Mappings become dataclasses, or every fault is named."""

import dataclasses
import math
import typing

import pytest

from hermesflow_jax.runtime import settings


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
  result = settings.build(Outer, values)
  assert result == Outer(
    'a', True, Inner(0.5), (1, 2), (Inner(1.0, 2),), Inner(2.0)
  )
  assert isinstance(result.many[0].rate, float)


def test_all_seeds_of_32_bits_are_taken():
  values = GOOD | {'sizes': [2**32 - 1]}
  assert settings.build(Outer, values).sizes == (2**32 - 1,)


def test_none_is_kept_where_it_may_be():
  assert settings.build(Outer, GOOD | {'maybe': None}).maybe is None


@pytest.mark.parametrize(
  'change, message',
  [
    ({'nam': 1}, "config.nam is not a setting, did you mean 'name'?"),
    ({'zzz': 1}, 'config.zzz is not a setting'),
    ({'name': 3}, 'config.name must be str, got 3'),
    ({'flag': 1}, 'config.flag must be bool, got 1'),
    ({'inner': 1}, 'config.inner must be a mapping, got 1'),
    ({'inner': {}}, 'config.inner.rate is missing'),
    (
      {'inner': {'rate': math.nan}},
      'config.inner.rate must be a finite number, got nan',
    ),
    *(
      ({'inner': {'rate': rate}}, f'config.inner.rate must be {bound}')
      for rate, bound in (
        (1e39, 'a number of float32, got 1e+39'),
        (10**400, 'a finite number, got inf'),
      )
    ),
    *(
      ({'sizes': [0, size]}, f'config.sizes[1] must be {bound}, got {size}')
      for size, bound in (
        (2**32, 'less than 4294967296'),
        (2**63, 'less than 4294967296'),
        (-(2**32), 'more than -4294967296'),
      )
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
      (
        "config.many[1].rat is not a setting, did you mean 'rate'?; "
        'config.many[1].rate is missing'
      ),
    ),
    (
      {'maybe': {'rate': -1}},
      'config.maybe.rate must be more than 0, got -1.0',
    ),
  ],
)
def test_a_fault_is_named_with_its_place_and_value(change, message):
  with pytest.raises(ValueError) as error:
    settings.build(Outer, GOOD | change)
  assert str(error.value) == message


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
  steps: settings.PositiveInt | None = settings.may_change_on_resume(
    default=None
  )
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
