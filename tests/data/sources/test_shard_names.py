"""Patterns of shards: braces as in a shell, names that do not exist."""

import pytest

from hermesflow_jax.data.sources import shard_names


@pytest.mark.parametrize(
  'pattern, names',
  [
    ('{000..002}.tar', '000.tar 001.tar 002.tar'),
    ('{010..008}', '010 009 008'),
    ('{2..0}', '2 1 0'),
    ('{9..11}', '9 10 11'),
    ('{0..010..5}', '000 005 010'),
    ('{a,b}{1..2}', 'a1 a2 b1 b2'),
    ('{a,{08..10},c}.tar', 'a.tar 08.tar 09.tar 10.tar c.tar'),
    ('x{a{1,2},b{3,{4..5}}}', 'xa1 xa2 xb3 xb4 xb5'),
    ('a{,b}', 'a ab'),
    ('{a}', 'a'),
    ('a,b', 'a,b'),
  ],
)
def test_braces_stand_for_the_names_of_a_shell(pattern, names):
  assert shard_names.expand(pattern) == names.split()


@pytest.mark.parametrize(
  'pattern, fault',
  [
    ('{}.tar', r'must have a range or names in braces, got \{\} in \{\}.tar'),
    ('{000..010.tar', 'must close every brace'),
    ('{a,{b}.tar', 'must close every brace'),
    ('000}.tar', 'must open every brace'),
    ('{' * 9_999, 'at most 10 braces inside each other'),
    ('{0..9999999}.tar', 'at most 1000000 shards'),
    ('{5..99999999999999999999}.tar', 'at most 1000000 shards'),
    ('{0..999}' * 3, 'at most 1000000 shards'),
  ],
)
def test_damaged_braces_are_one_line(pattern, fault):
  with pytest.raises(ValueError, match=fault) as error:
    shard_names.shards(pattern)
  assert '\n' not in str(error.value) and len(str(error.value)) < 400


def test_signs_of_patterns_may_be_letters_of_a_name(tmp_path):
  for name in ('a{b}.tar', 'a[1].tar', '100%.tar', 'a b.tar'):
    (tmp_path / name).write_bytes(b'')
    assert shard_names.shards(f'{tmp_path}/{name}') == [tmp_path / name]
  names = [path.name for path in shard_names.shards(f'{tmp_path}/a*.tar')]
  assert names == ['a b.tar', 'a[1].tar', 'a{b}.tar']
