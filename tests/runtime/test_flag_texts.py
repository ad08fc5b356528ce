"""Lists on a command line: what each form means, and which are refused."""

import dataclasses

import pytest

from hermesflow_jax.runtime import flag_texts
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class Part:
  number: int
  name: str = ''


@dataclasses.dataclass(frozen=True)
class Example:
  texts: tuple[str, ...] = ()
  numbers: tuple[int, ...] = ()
  rates: tuple[float, ...] = ()
  switches: tuple[bool, ...] = ()
  parts: tuple[Part, ...] = ()
  part: Part | None = None
  table: dict = dataclasses.field(default_factory=dict)
  name: str = ''
  rate: float = 0.0
  switch: bool = False


def read(name, *texts):
  config = settings.build(Example, {name: flag_texts.FlagText(texts)})
  return getattr(config, name)


@pytest.mark.parametrize(
  'text, texts',
  [
    ("('a red ring',)", ('a red ring',)),
    ("('a', 'b, c')", ('a', 'b, c')),
    ('["a", "b, c"]', ('a', 'b, c')),
    ("['a']", ('a',)),
    ("'a', 'b'", ('a', 'b')),
    ("'a',", ('a',)),
    ('a red ring', ('a red ring',)),
    ("'a red ring'", ('a red ring',)),
    ("('a red ring')", ('a red ring',)),
    ('yes,no', ('yes', 'no')),
    ('1,2', ('1', '2')),
    ('2024', ('2024',)),
    ('true', ('true',)),
    ('None', ('None',)),
    ('(right, down)', ('right', 'down')),
    ('[a red ring,]', ('a red ring',)),
    ('data/*.png', ('data/*.png',)),
    ('[ab]*.png', ('[ab]*.png',)),
    ('photo (1).png', ('photo (1).png',)),
    ('("a") b', ('("a") b',)),
    ("it's red", ("it's red",)),
    ('zwei Ringe 🔴', ('zwei Ringe 🔴',)),
    ('', ()),
    ('()', ()),
    ('[]', ()),
  ],
)
def test_a_list_of_texts(text, texts):
  assert read('texts', text) == texts


@pytest.mark.parametrize(
  'name, text, value',
  [
    ('numbers', '1,2', (1, 2)),
    ('numbers', '5', (5,)),
    ('numbers', '(1, 2)', (1, 2)),
    ('numbers', '[1]', (1,)),
    ('rates', '1e-4,2', (1e-4, 2.0)),
    ('switches', 'true,false', (True, False)),
    ('switches', '[true]', (True,)),
    ('switches', '(True,)', (True,)),
    ('parts', '[{"number": 1}]', (Part(1),)),
    ('parts', "{'number': 1}", (Part(1),)),
    ('parts', '{"number": 1}, {"number": 2}', (Part(1), Part(2))),
    ('part', '{"number": 1, "name": "a"}', Part(1, 'a')),
    ('part', 'None', None),
    ('part', 'null', None),
    ('table', '{"a": true}', {'a': True}),
    ('name', '01.jsonl', '01.jsonl'),
    ('name', '2024', '2024'),
    ('rate', '3', 3.0),
    ('switch', 'True', True),
  ],
)
def test_a_text_has_the_type_of_its_setting(name, text, value):
  assert read(name, text) == value


def test_a_repeated_flag_adds_to_a_list():
  assert read('texts', 'a red ring', '("b", "c")') == ('a red ring', 'b', 'c')
  assert read('name', 'a', 'b') == 'b'


@pytest.mark.parametrize(
  'name, text, message',
  [
    (
      'texts',
      'a red ring, a blue square',
      (
        "config.texts must be a list of texts, got 'a red ring, a blue square'; "
        'quote each text, as in --config.texts=\'["a red ring", "a blue square"]'
        "'"
      ),
    ),
    ('texts', "('a' 'b', c)", 'quote each text'),
    ('texts', "('a, 'b')", '\'["a", "b"]\''),
    ('texts', "['a red ring'", '--config.texts=\'["a red ring"]\''),
    ('texts', 'a,,b', '\'["a", "b"]\''),
    ('texts', '[1, 2]', 'config.texts[0] must be str, got 1'),
    ('numbers', 'a', "must be a list, got 'a'; write --config.numbers=1,2"),
    ('numbers', '1,2.5', 'config.numbers[1] must be int, got 2.5'),
    ('rates', 'nan', 'must be a list'),
    (
      'parts',
      'a',
      (
        "config.parts must be a list, got 'a'; write --config.parts='[{\"number\""
        ': ..., "name": ...}]\''
      ),
    ),
    (
      'part',
      'a.jsonl',
      (
        "config.part must be a mapping, got 'a.jsonl'; write "
        '--config.part=\'{"number": ..., "name": ...}\''
      ),
    ),
    ('part', '[1]', 'must be a mapping'),
    ('table', 'a', '--config.table=\'{"<key>": <value>}\''),
    ('rate', 'a', "config.rate must be float, got 'a'"),
    ('switch', 'on', "config.switch must be true or false, got 'on'"),
    ('switches', 'a,b', "config.switches must be true or false, got 'a'"),
  ],
)
def test_another_form_is_refused_with_the_right_one(name, text, message):
  with pytest.raises(ValueError) as error:
    read(name, text)
  assert message in str(error.value)
  assert '\n' not in str(error.value)


def test_annotations_are_located_by_their_path():
  assert flag_texts.hint_at(Example, ('part', 'name')) is str
  assert flag_texts.hint_at(Example, ('parts', 0, 'number')) is int
  assert flag_texts.hint_at(Example, ('part', 'other')) is None
  assert flag_texts.hint_at(Example, ('name', 'other')) is None
