"""Prompts come from files in the forms of benchmarks, or are named."""

import json
import os
import pathlib

import pytest

import configs.generate
from hermesflow_jax.data import image_reader
from hermesflow_jax.jobs.setup import prompt_list


def write(tmp_path, name, content):
  data = content if isinstance(content, bytes) else content.encode()
  (tmp_path / name).write_bytes(data)
  return str(tmp_path / name)


def geneval(prompt):
  """Returns a record of GenEval's `evaluation_metadata.jsonl`."""
  return {
    'tag': 'single_object',
    'include': [{'class': 'ring', 'count': 1}],
    'prompt': prompt,
  }


PROMPTS = ['a red ring', 'a blue square, large']
FILES = {
  'lines.txt': '\n'.join(PROMPTS),
  'blank.txt': '\n\n'.join(PROMPTS) + '\n\n \n',
  'bom.txt': '\ufeff' + '\r\n'.join(PROMPTS) + '\r\n',
  'old_mac.txt': '\r'.join(PROMPTS),
  'spaces.txt': '\u200ba\u00a0red ring \n\ta blue\u3000square, large',
  'geneval.jsonl': '\n'.join(json.dumps(geneval(p)) for p in PROMPTS),
  'geneval.txt': '\n'.join(json.dumps(geneval(p)) for p in PROMPTS),
  'geneval.json': json.dumps([geneval(p) for p in PROMPTS], indent=1),
  'captions.json': json.dumps([{'caption': p} for p in PROMPTS]),
  'texts.json': json.dumps(PROMPTS),
  'mjhq.json': json.dumps(
    {str(n): {'category': 'x', 'prompt': p} for n, p in enumerate(PROMPTS)}
  ),
  'parti.tsv': 'Prompt\tCategory\n' + ''.join(f'{p}\tx\n' for p in PROMPTS),
  'dpg.csv': 'item_id,text,proposition_id\n'
  + ''.join(f'{p[2]},"{p}",{n}\n' for p in PROMPTS for n in range(3)),
}


@pytest.mark.parametrize('name', FILES)
def test_a_form_changes_no_prompt(tmp_path, name):
  path = write(tmp_path, name, FILES[name])
  assert prompt_list.read_prompts((), path) == [(p, '') for p in PROMPTS]


def test_the_path_of_a_file_is_no_prompt(tmp_path):
  path = write(tmp_path, 'lines.txt', 'a red ring')
  texts = (path, 'see lines.txt')
  (_, fault), other = prompt_list.read_prompts(texts, '')
  assert fault.endswith(f'draw its prompts by --config.file={path}')
  assert other == ('see lines.txt', '')


def test_a_folder_has_a_prompt_per_text_file(tmp_path):
  write(tmp_path, '2.txt', 'a blue square,\nlarge\n')
  write(tmp_path, '1.txt', '\ufeffa red ring')
  write(tmp_path, '._1.txt', b'\0\5\x16')
  write(tmp_path, 'notes.md', 'no prompt')
  actual = prompt_list.read_prompts((), str(tmp_path))
  assert actual == [(p, '') for p in PROMPTS]
  before = prompt_list.file_hash(str(tmp_path))
  write(tmp_path, '1.txt', 'a red star')
  assert prompt_list.file_hash(str(tmp_path)) != before
  write(tmp_path, '3.txt', '')
  assert prompt_list.read_prompts((), str(tmp_path))[-1] == (
    str(tmp_path / '3.txt'),
    'it is empty',
  )


def test_defaults_are_not_drawn_beside_a_file(tmp_path):
  path = write(tmp_path, 'a.txt', 'a red ring')
  config = configs.generate.get_config()
  defaults = config.examples
  assert defaults == config.prompts

  def read(texts, path):
    rows = prompt_list.read_prompts(texts, path, defaults)
    return [prompt for prompt, _ in rows]

  assert read(defaults, path) == ['a red ring']
  assert read(defaults, '') == list(defaults)
  assert read(('a star',), path) == ['a star', 'a red ring']


@pytest.mark.parametrize(
  'name, content, faults',
  [
    (
      'a.txt',
      b'a ring\na \xff star',
      ['', 'the byte 0xff, which is not UTF-8'],
    ),
    ('a.txt', 'a\0ring\nb\n\x1b[31mred', ['U+0000', '', 'U+001B']),
    ('a.txt', 'a\nb\na\n a', ['', '', 'it occurs twice']),
    (
      'a.jsonl',
      '{"prompt": "a"}\n{"prompt": }\n{"x": 1}\n3\n{"prompt": "\\ud83d"}',
      ['', 'must be JSON', "got the fields 'x'", 'got the', 'half a character'],
    ),
    ('a.tsv', 'Name\tId\na\t1', ["got the fields 'Name', 'Id'"]),
    ('a.jsonl', '{"prompt": null}', ['prompt must be text, got None']),
  ],
)
def test_each_fault_is_a_fault_of_its_prompt(tmp_path, name, content, faults):
  rows = prompt_list.read_prompts((), write(tmp_path, name, content))
  assert len(rows) == len(faults)
  for (_, actual), expected in zip(rows, faults):
    assert expected in actual and bool(expected) == bool(actual)


@pytest.mark.parametrize(
  'name, content',
  [('a.txt', ''), ('a.txt', '\n \n'), ('a.json', '[]'), ('a.csv', '')],
)
def test_a_file_without_prompts_is_named(tmp_path, name, content):
  path = write(tmp_path, name, content)
  with pytest.raises(ValueError, match=f'{path} must hold prompts, got none'):
    prompt_list.read_prompts(('x',), path, ('x',))


def test_a_table_with_only_a_header_is_named(tmp_path):
  path = write(tmp_path, 'a.tsv', 'caption\ttwo red rings\n')
  with pytest.raises(ValueError, match="first line is 'caption"):
    prompt_list.read_prompts((), path)


def test_a_folder_without_text_files_is_named(tmp_path):
  with pytest.raises(
    ValueError, match='must hold .txt files with a prompt each'
  ):
    prompt_list.read_prompts((), str(tmp_path))


def test_replaced_characters_are_reported(tmp_path):
  output = []
  path = write(tmp_path, 'a.txt', 'a\u00a0ring\nb\u200b\nc')
  prompt_list.read_prompts((), path, say=output.append)
  (line,) = output
  assert 'replaced in 2 prompts: U+00A0 (NO-BREAK SPACE), U+200B' in line


@pytest.mark.parametrize('kind', ['pipe', 'device'])
def test_a_pipe_is_refused_before_anything_waits_for_it(tmp_path, kind):
  """A job reads its files again to hash them: a pipe is empty by then."""
  path = tmp_path / 'pipe' if kind == 'pipe' else pathlib.Path('/dev/null')
  if kind == 'pipe':
    os.mkfifo(path)
  with pytest.raises(ValueError, match='got a pipe or a device; write its'):
    prompt_list.read_prompts((), str(path))
  with pytest.raises(ValueError, match='got a pipe or a device; write its'):
    image_reader.load_image(path, 16)
