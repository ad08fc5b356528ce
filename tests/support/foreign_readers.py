"""Readers of files that strangers bring, with a valid file for each."""

from collections.abc import Callable
import dataclasses
import json
import pathlib

import foreign_data_sets
import foreign_weights
import numpy as np
from PIL import Image

from conversions import from_peft
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs.setup import curation_folder
from hermesflow_jax.jobs.setup import prompt_list
from hermesflow_jax.runtime import strict_json

SENTENCES = ['a red ring', 'a blue star left of a small gray disk', "it's 早い"]
QUESTION = {
  'question': 'is it red?',
  'choices': ['yes', 'no'],
  'answer': 'yes',
  'element_type': 'color',
}


@dataclasses.dataclass(frozen=True)
class Reader:
  """A reader of a file that strangers bring.

  Attributes:
    file: name of the file that is damaged.
    prepare: writes a valid file, and the files beside it, into a folder.
    read: reads all that is in the folder; ValueError for damage.
  """

  file: str
  prepare: Callable[[pathlib.Path], None]
  read: Callable[[pathlib.Path], object]


def _image(path: pathlib.Path, **options) -> None:
  values = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
  Image.fromarray(values).save(path, **options)


def _annotations() -> list[dict]:
  return [
    {'id': f'r{n}', 'img_path': 'image.png', 'caption': caption}
    for n, caption in enumerate(SENTENCES)
  ]


def _write_records(folder) -> None:
  _image(folder / 'image.png')
  rows = [row | {'questions': [QUESTION]} for row in _annotations()]
  (folder / 'records.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )


def _write_list(folder) -> None:
  _write_records(folder)
  lines = (folder / 'records.jsonl').read_text().splitlines()
  text = '[' + ',\n'.join(lines) + ']'
  (folder / 'records.jsonl').write_text(text)


def _read_records(folder) -> None:
  path = str(folder / 'records.jsonl')
  files = record_files.Source(annotations=path, images=str(folder))
  record_files.read_records(dataclasses.replace(files, on_error='skip'))
  record_files.read_records(files)


def _write_tifa(folder) -> None:
  _image(folder / 'image.png')
  rows = _annotations()
  (folder / 'records.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )
  questions = [QUESTION | {'id': row['id']} for row in rows]
  (folder / 'tifa.json').write_text(json.dumps(questions))


def _read_tifa(folder) -> None:
  record_files.read_records(
    record_files.Source(
      annotations=str(folder / 'records.jsonl'),
      images=str(folder),
      questions=str(folder / 'tifa.json'),
    )
  )


def _write_official_pairs(folder) -> None:
  _image(folder / 'image.png')
  rows = [
    {
      'id': row['id'],
      'caption': row['caption'],
      'prompt': row['caption'],
      'img_path': 'image.png',
      'caption_win': row['caption'],
      'caption_lose': 'a picture',
      'bert_score_win': 0.9,
      'bert_score_lose': 0.1,
      'image_win': 'image.png',
      'image_lose': 'image.png',
      'vqa_score_win': 1.0,
      'vqa_score_lose': 0.5,
    }
    for row in _annotations()
  ]
  (folder / 'pairs.json').write_text(json.dumps(rows))


def _read_official_pairs(folder) -> None:
  path = folder / 'pairs.json'
  official_pair_reader.read_official(path, str(folder), 'skip')


def _write_pairs(folder) -> None:
  rows = [
    {
      'id': row['id'],
      'caption': row['caption'],
      'caption_win': row['caption'],
      'caption_lose': 'a picture',
      'caption_score_win': 0.9,
      'caption_score_lose': 0.1,
      'caption_dropped': '',
      'codes_win': [1, 2, 3, 4],
      'codes_lose': [4, 3, 2, 1],
      'vqa_score_win': 1.0,
      'vqa_score_lose': 0.5,
      'image_dropped': '',
      'codes': [1, 1, 1, 1],
    }
    for row in _annotations()
  ]
  (folder / 'pairs.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )


def _write_manifest(folder) -> None:
  manifest = {
    'round': 1,
    'inputs': 3,
    'drops': {'caption': {'kept': 3}, 'image': {'kept': 3}},
    'sha256': {'pairs.jsonl': '0' * 64, 'tfds/a': '1' * 64},
  }
  (folder / 'manifest.json').write_text(json.dumps(manifest))


def _write_prompts(folder) -> None:
  (folder / 'prompts.txt').write_text('\n'.join(SENTENCES) + '\n')


def _write_llava(folder) -> None:
  _image(folder / 'image.png')
  rows = [
    {
      'id': row['id'],
      'image': 'image.png',
      'conversations': [
        {'from': 'human', 'value': '<image>\nDescribe the picture.'},
        {'from': 'gpt', 'value': row['caption']},
      ],
      'questions': [QUESTION],
    }
    for row in _annotations()
  ]
  (folder / 'records.jsonl').write_text(json.dumps(rows))


def _write_geneval(folder) -> None:
  rows = [{'tag': 'color', 'prompt': text} for text in SENTENCES]
  (folder / 'prompts.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )


def _write_table(folder) -> None:
  rows = [f'{n},"{text}"\n' for n, text in enumerate(SENTENCES)]
  (folder / 'prompts.csv').write_text('id,prompt\n' + ''.join(rows))


def _prompt_reader(name: str, write) -> Reader:
  """Returns the reader of a prompts file in a form."""
  return Reader(
    name, write, lambda folder: prompt_list.read_prompts([], str(folder / name))
  )


def _image_reader(name: str, **options) -> Reader:
  """Returns the reader of an image in a file format."""
  return Reader(
    name,
    lambda folder: _image(folder / name, **options),
    lambda folder: image_reader.load_image(folder / name, 16),
  )


READERS = {
  **{
    name: Reader(*foreign_data_sets.reader_of(*form))
    for name, form in foreign_data_sets.FORMS.items()
  },
  'records': Reader('records.jsonl', _write_records, _read_records),
  'record list': Reader('records.jsonl', _write_list, _read_records),
  'TIFA questions': Reader('tifa.json', _write_tifa, _read_tifa),
  'official pairs': Reader(
    'pairs.json', _write_official_pairs, _read_official_pairs
  ),
  'pairs': Reader(
    'pairs.jsonl',
    _write_pairs,
    lambda folder: curation_folder.read_previous_round(str(folder), 1),
  ),
  'manifest': Reader(
    'manifest.json',
    _write_manifest,
    lambda folder: curation_folder.dataset_hashes(folder, 1),
  ),
  'LLaVA': Reader('records.jsonl', _write_llava, _read_records),
  'prompts': _prompt_reader('prompts.txt', _write_prompts),
  'GenEval prompts': _prompt_reader('prompts.jsonl', _write_geneval),
  'prompt table': _prompt_reader('prompts.csv', _write_table),
  'adapter config': Reader(
    'adapter_config.json',
    foreign_weights.write_peft,
    lambda folder: from_peft.read_config(
      strict_json.load(folder / 'adapter_config.json')
    ),
  ),
  'safetensors': Reader(
    'model.safetensors',
    foreign_weights.write_safetensors,
    foreign_weights.read_weights,
  ),
  'torch': Reader(
    'pytorch_model.bin',
    foreign_weights.write_torch,
    foreign_weights.read_weights,
  ),
  **{name: Reader(*form) for name, form in foreign_weights.FORMS.items()},
  'shard index': Reader(
    'model.safetensors.index.json',
    foreign_weights.write_index,
    foreign_weights.read_weights,
  ),
  'bundle': Reader(
    'config.json',
    foreign_weights.write_bundle,
    lambda folder: model_bundle.read_sizes(str(folder)),
  ),
  'text tokenizer': Reader(
    'text.json',
    foreign_weights.write_text_tokenizer,
    foreign_weights.read_text_tokenizer,
  ),
  **{
    f'checkpoint {name}': Reader(
      f'saved/{name}',
      foreign_weights.write_checkpoint,
      foreign_weights.read_checkpoint,
    )
    for name in (
      '_CHECKPOINT_METADATA',
      'meta/_METADATA',
      'meta/_strings.json',
      'arrays/_METADATA',
      'arrays/manifest.ocdbt',
    )
  },
  'PNG': _image_reader('image.png'),
  'JPEG': _image_reader('image.jpg', quality=90),
  'WebP': _image_reader('image.webp', lossless=True),
}
