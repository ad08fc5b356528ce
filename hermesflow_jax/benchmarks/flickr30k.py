"""Flickr30k: captions against five human captions each (arXiv 1505.04870).

The test split of Karpathy: 1,000 images. The score is CIDEr.
"""

import json

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import cider
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import ptb_words
from hermesflow_jax.data import image_folder
from hermesflow_jax.runtime import storage

PROMPT = 'Provide a one-sentence caption for the provided image.'
_SPLIT = 'test'


class Flickr30k(protocol.UnderstandingBenchmark):
  """Flickr30k; the headline is CIDEr times 100."""

  name = 'flickr30k'
  title = 'Flickr30k'
  protocol = (
    '"Provide a one-sentence caption for the provided image."; greedy; CIDEr '
    'times 100 with rarities of the evaluated captions; Karpathy test split.'
  )

  def read(self, files):
    """Reads Karpathy's file.

    Args:
      files: `path` is `dataset_flickr30k.json`, or a folder with it; `images`
        is the folder of images. A suffix takes the place of the whole prompt.

    Raises:
      ValueError: see the protocol.
    """
    path = storage.path(files.path)
    if path.is_dir():
      path = path / 'dataset_flickr30k.json'
    content = benchmark_files.read_object(path, 'images', list)
    folder = image_folder.ImageFolder(files.images or str(path.parent))
    prompt = PROMPT if files.suffix is None else files.suffix
    rows, faults = [], []
    for number, value in enumerate(content['images'], 1):
      try:
        row = _question(value, folder, prompt)
      except ValueError as error:
        faults.append(f'image {number}: {error}')
        continue
      rows += [row] if row else []
    if not rows and not faults:
      raise ValueError(f'{path} must have images of the split test, got none')
    return benchmark_files.checked_rows(rows, 'Karpathy', faults, files, path)

  def score(self, rows, replies):
    """See the protocol; the rule names the tokenizer of the words."""
    candidates = [replies.get(row.id, '') for row in rows]
    references = [text for row in rows for text in row.reference['captions']]
    texts, tokenizer = ptb_words.tokenize(candidates + references)
    words, rest = dict(zip((r.id for r in rows), texts, strict=False)), {}
    place = len(rows)
    for row in rows:
      count = len(row.reference['captions'])
      rest[row.id] = texts[place : place + count]
      place += count
    values = cider.scores(words, rest)
    score = 100 * sum(values.values()) / len(values)
    official = tokenizer == ptb_words.OFFICIAL
    notes = (f'words by: {tokenizer}',)
    if not official:
      notes += (
        'not the official words: install pycocoevalcap and Java for these',
      )
    return [
      protocol.Scores(
        'CIDEr' if official else 'CIDEr, own words',
        score,
        'x 100',
        {'CIDEr': score},
        {name: 100 * value for name, value in values.items()},
        notes,
      )
    ]

  def prediction_files(self, rows, replies):
    """See the protocol: COCO's list of captions."""
    values = [
      {
        'image_id': row.reference['image_id'],
        'caption': replies.get(row.id, ''),
      }
      for row in rows
    ]
    return {'captions_flickr30k_results.json': json.dumps(values) + '\n'}


def _question(value, folder, prompt) -> protocol.ImageQuestion | None:
  """Returns the question about an image of the test split; None for others.

  Raises:
    ValueError: a field is missing, or the image does not exist.
  """
  benchmark_files.check_fields(value, {'filename': str, 'split': str})
  if value['split'] != _SPLIT:
    return None
  benchmark_files.check_fields(value, {'sentences': list})
  for sentence in value['sentences']:
    benchmark_files.check_fields(sentence, {'raw': str})
  if not value['sentences']:
    raise ValueError('sentences must not be empty, got []')
  name = value['filename']
  stem = name.rpartition('.')[0]
  return protocol.ImageQuestion(
    name,
    folder.find(name, 'filename'),
    prompt,
    {
      'image_id': int(stem) if stem.isdigit() else name,
      'captions': [sentence['raw'] for sentence in value['sentences']],
    },
  )
