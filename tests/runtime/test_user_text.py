"""Text of users is read as it is meant, or refused with its fault."""

import pathlib

import pytest

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import text_files
from hermesflow_jax.runtime import user_text


@pytest.mark.parametrize(
  'text, fault',
  [
    ('a \ud83d ring', 'must be Unicode text, .* with half a character at 2'),
    ('a \udcff ring', 'with the byte 0xff, which is not UTF-8, at 2'),
    ('a\0ring', 'must have no control characters, .* with U[+]0000 at 1'),
    ('\x1b[31mred', 'must have no control characters, .* with U[+]001B at 0'),
    ('a \x7f', 'U[+]007F'),
    ('caf\x9b', 'U[+]009B'),
  ],
)
def test_what_no_tokenizer_can_read_is_named(text, fault):
  with pytest.raises(ValueError, match='caption .*' + fault):
    user_text.check('caption', text)


@pytest.mark.parametrize(
  'text',
  [
    '',
    'a\tred\r\nring',
    'Größe',
    '红色',
    'حلقة',
    '👩\u200d👧 ❤\ufe0f',
    'क्\u200dष',
  ],
)
def test_text_of_every_language_stays(text):
  user_text.check('caption', text)
  user_text.check_plain('caption', text)
  assert user_text.normalize(text) == text
  assert user_text.odd_characters(text) == []


ODD = {
  'a\xa0ring': 'a ring',
  '\ufeffa ring': 'a ring',
  'a\u200b ring\u2060': 'a ring',
  'a\u202fring\u3000': 'a ring ',
  '\u202ea ring\u202c': 'a ring',
  '\u2066a\u2069 ring\u200f': 'a ring',
  'a\u2028ring': 'a ring',
  'a r\xading': 'a ring',
  'a\x85ring': 'a ring',
}


@pytest.mark.parametrize('text', ODD)
def test_odd_spaces_and_invisible_characters_go(text):
  assert user_text.normalize(text) == ODD[text]
  assert user_text.odd_characters(text)
  user_text.check('caption', text)
  with pytest.raises(ValueError, match='choices must have plain spaces'):
    user_text.check_plain('choices', text)


def test_names_of_files_stay():
  value = {'img_path': 'a\u202fb.png', 'questions': [{'choices': ['a\xa0b']}]}
  normal, odd = user_text.normalize_fields(value, ('img_path',))
  assert normal == {
    'img_path': 'a\u202fb.png',
    'questions': [{'choices': ['a b']}],
  }
  assert odd == ['U+00A0 (NO-BREAK SPACE)']


def test_a_long_value_is_not_quoted_in_full():
  assert len(user_text.quote('a' * 10_000)) < 250
  assert len(user_text.quote(['a'] * 10_000)) < 450


@pytest.mark.parametrize(
  'data, text',
  [
    (b'\xef\xbb\xbfa\r\nb', 'a\nb'),
    (b'a\rb', 'a\nb'),
    ('Größe\n红'.encode(), 'Größe\n红'),
    (b'', ''),
    (b'a\nb \xff\nc', 'a\nb \udcff\nc'),
    (b'BMW and GIF89 are words', 'BMW and GIF89 are words'),
  ],
)
def test_a_text_file_is_read_without_mark(tmp_path, data, text):
  (tmp_path / 'a.txt').write_bytes(data)
  assert text_files.read(storage.path(tmp_path / 'a.txt')) == text


@pytest.mark.parametrize(
  'data, kind',
  [
    ('a ring'.encode('utf-16'), 'UTF-16 text; save it as UTF-8'),
    ('a\nring'.encode('utf-16-le'), 'text with NUL bytes, as in UTF-16'),
    ('a'.encode('utf-32'), 'UTF-32 text'),
    (b'\x1f\x8b\x08\0\xff', 'a gzip file; unpack it'),
    (b'PK\x03\x04\xff\xfe', 'a zip file; unpack it'),
    (b'PAR1\x15\xff\0', 'a Parquet file; write its rows as JSON lines'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'),
    (b'<!DOCTYPE html>\n<html>', 'a web page'),
    ('déjà\nété'.encode('latin-1'), "b'd\\\\xe9j"),
  ],
)
def test_a_file_of_another_kind_is_named(tmp_path, data, kind):
  path = pathlib.Path(tmp_path, 'a.txt')
  path.write_bytes(data)
  with pytest.raises(ValueError, match='must be UTF-8 text, got .*' + kind):
    text_files.read(path)


def test_a_folder_and_an_absent_file_are_named(tmp_path):
  for path in (tmp_path, tmp_path / 'none'):
    with pytest.raises(ValueError, match=f'{path} cannot be read: '):
      text_files.read(path)


@pytest.mark.parametrize(
  'number, text', [(0, '0 images'), (1, '1 image'), (2, '2 images')]
)
def test_a_number_agrees_with_its_noun(number, text):
  assert user_text.counted(number, 'image') == text
