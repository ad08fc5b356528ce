"""Old names of settings work, and the user is told the new one."""

import dataclasses

import pytest

from hermesflow_jax.runtime import flag_texts
from hermesflow_jax.runtime import renamed_settings
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class Inner:
  count: settings.PositiveInt = renamed_settings.earlier('each', default=2)


@dataclasses.dataclass(frozen=True)
class Outer:
  size: settings.PositiveInt = renamed_settings.earlier('width')
  inner: Inner | None = None
  parts: tuple[Inner, ...] = ()


def test_an_old_name_is_read_and_told():
  values, lines = renamed_settings.with_new_names(
    Outer, {'width': 3, 'inner': {'each': 4}}
  )
  assert values == {'size': 3, 'inner': {'count': 4}}
  assert lines == [
    'config.width is now called config.size',
    'config.inner.each is now called config.inner.count',
  ]
  expected = Outer(3, Inner(4))
  assert settings.build(Outer, {'width': 3, 'inner': {'each': 4}}) == expected


def test_new_names_change_nothing():
  values = {'size': 3, 'inner': None, 'unknown': 1}
  assert renamed_settings.with_new_names(Outer, values) == (values, [])


@pytest.mark.parametrize('order', [('size', 'width'), ('width', 'size')])
def test_what_the_user_gives_by_an_old_name_replaces_the_default(order):
  given = {'size': 1, 'width': 5}
  values = {name: given[name] for name in order}
  assert settings.build(Outer, values).size == 5


def test_bounds_name_the_new_name():
  with pytest.raises(ValueError, match='config.size must be at least 1, got 0'):
    settings.build(Outer, {'width': 0})


def test_a_flag_may_have_an_old_name():
  for path in (('width',), ('inner', 'each'), ('inner', 'count')):
    assert flag_texts.hint_at(Outer, path) is int
  assert flag_texts.hint_at(Outer, ('each',)) is None


def test_a_new_name_on_the_command_line_replaces_an_old_one_in_a_config():
  values = {'size': 1, 'inner': {'count': 3, 'each': 7}}
  new, lines = renamed_settings.with_new_names(Outer, values, {'inner.count'})
  assert new['inner'] == {'count': 3}
  assert lines == ['config.inner.each is now called config.inner.count']
  new, _ = renamed_settings.with_new_names(Outer, values, {'inner.each'})
  assert new['inner'] == {'count': 7}
  with pytest.raises(ValueError, match='inner.count; give one of them'):
    renamed_settings.with_new_names(
      Outer, values, {'inner.each', 'inner.count'}
    )


def test_old_names_in_texts_of_flags_and_in_lists_are_read():
  text = flag_texts.FlagText(('{"each": 4}',))
  values = {'size': 1, 'inner': text, 'parts': [{'each': 5}]}
  expected = Outer(1, Inner(4), (Inner(5),))
  assert settings.build(Outer, values) == expected
