"""Settings that say only how leave runs and models the same."""

import dataclasses

import pytest

from hermesflow_jax.models import phi
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class Part:
  size: int
  pieces: int = settings.may_change_on_resume(default=1)


@dataclasses.dataclass(frozen=True)
class Run:
  name: str
  where: str = settings.may_change_on_resume()
  rounds: int = settings.may_change_on_resume()
  part: Part | None = None
  parts: tuple[Part, ...] = ()
  added: float = 0.5


def test_what_is_free_is_no_part_of_an_identity_at_any_depth():
  run = Run('a', 'here', 3, Part(1, 8), (Part(2, 8), Part(3)))
  assert identities.identity_of(Run, settings.to_json_types(run)) == {
    'name': 'a',
    'part': {'size': 1},
    'parts': [{'size': 2}, {'size': 3}],
    'added': 0.5,
  }
  other = Run('a', 'there', 5, Part(1, 2), (Part(2), Part(3, 4)))
  assert identities.identity_of(
    Run, settings.to_json_types(other)
  ) == identities.identity_of(Run, settings.to_json_types(run))


def test_a_record_of_an_earlier_release_has_defaults_and_keeps_the_rest():
  """A setting that came later did what its default does."""
  old = {'name': 'a', 'where': 'x', 'rounds': 2, 'sums': {'w': 'ab'}}
  assert identities.identity_of(Run, old) == {
    'name': 'a',
    'part': None,
    'parts': [],
    'added': 0.5,
    'sums': {'w': 'ab'},
  }


@dataclasses.dataclass(frozen=True)
class Network:
  width: int
  dtype: str = settings.numerics(default='float32')


@dataclasses.dataclass(frozen=True)
class Training:
  network: Network


def test_how_a_model_is_computed_is_of_a_run_but_not_of_a_model():
  a, b = Network(8), Network(8, 'bfloat16')
  assert identities.same_model(a, b)
  assert not identities.same_model(a, Network(9))
  runs = [settings.to_json_types(Training(network)) for network in (a, b)]
  first, second = (identities.identity_of(Training, run) for run in runs)
  assert first != second
  first, second = (
    identities.identity_of(Training, run, 'model') for run in runs
  )
  assert first == second == {'network': {'width': 8}}


def test_an_identity_can_be_of_what_was_recorded_alone():
  record = {'name': 'a', 'part': {'size': 1, 'pieces': 2, 'later': 3}}
  assert identities.identity_of(Run, record, defaults=False) == {
    'name': 'a',
    'part': {'size': 1, 'later': 3},
  }


@pytest.mark.parametrize(
  'change',
  [
    {'dtype': 'bfloat16'},
    {'remat': 'full'},
    {'unroll': 2},
    {'attention': 'auto'},
  ],
)
def test_numerics_of_the_decoder_are_no_part_of_a_model(change):
  decoder = phi.PhiConfig()
  assert identities.same_model(decoder, dataclasses.replace(decoder, **change))


def test_sizes_of_the_decoder_are_a_part_of_a_model():
  numerics = {'dtype', 'remat', 'unroll', 'attention'}
  fields = {field.name for field in dataclasses.fields(phi.PhiConfig)}
  assert identities.model_identity(phi.PhiConfig()).keys() == fields - numerics


@dataclasses.dataclass(frozen=True)
class Files:
  lines: str = settings.path_of_content('data')
  images: str = settings.path_of_content('image_files', default='')


@dataclasses.dataclass(frozen=True)
class Reading:
  files: Files | None
  model: str = settings.path_of_content('base')
  seed: int = 0


def test_a_path_is_no_part_of_the_content_where_hashes_say_more():
  values = settings.to_json_types(Reading(Files('a', 'b'), 'c'))
  identity = identities.identity_of
  assert identity(Reading, values) == values
  assert identity(Reading, values, 'content') == {'files': {}, 'seed': 0}
  assert identity(Reading, values, 'content', contents={'data', 'base'}) == {
    'files': {'images': 'b'},
    'seed': 0,
  }
  assert identities.paths_of(Reading, values) == {
    'files': {'lines': 'a', 'images': 'b'},
    'model': 'c',
  }
  nothing = settings.to_json_types(Reading(None, 'c'))
  assert identities.paths_of(Reading, nothing) == {'model': 'c'}
