"""Writes a small BERT and a small MPNet with vocabularies of real size.

Both have the official layout: PyTorch tensors, `config.json`, and a WordPiece
vocabulary `vocab.txt` of whole words, letters and letters inside of words. As
in the official vocabularies, tokens without a use fill the rest. The weights
are random.
"""

import json
import pathlib
import string

import small_records
import torch_weights

from hermesflow_jax.models import bert
from hermesflow_jax.models import mpnet

SIZES = {'width': 16, 'layers': 1, 'heads': 2, 'mlp': 16}
# name: (model, sizes).
CONFIGS = {
  'bert': (bert.Bert, bert.BertConfig(**SIZES)),
  'mpnet': (mpnet.MPNet, mpnet.MPNetConfig(**SIZES)),
}
# Tokens with ids that the models know: pads have 0 in BERT, 1 in MPNet.
SPECIAL = {
  'bert': ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'),
  'mpnet': ('<s>', '<pad>', '</s>', '[UNK]', '<mask>'),
}
CLASSES = {'bert': 'BertTokenizer', 'mpnet': 'MPNetTokenizer'}


def write(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Writes an encoder as a release has it; returns the folder.

  Args:
    folder: the folder to write into.
    name: a key of CONFIGS.
  """
  model_class, sizes = CONFIGS[name]
  model = torch_weights.random_model(model_class, sizes, seed=0)
  torch_weights.write(
    folder,
    torch_weights.TABLES[name].to_torch(model),
    torch_weights.TABLES[name].official(sizes, 'float32'),
  )
  tokens = vocabulary(name, sizes.vocab)
  (folder / 'vocab.txt').write_text('\n'.join(tokens) + '\n', encoding='utf-8')
  (folder / 'tokenizer_config.json').write_text(
    json.dumps(
      {
        'tokenizer_class': CLASSES[name],
        'do_lower_case': True,
        'model_max_length': sizes.longest,
      }
    )
  )
  return folder


def vocabulary(name: str, size: int) -> list[str]:
  """Returns the tokens of a WordPiece vocabulary, in the order of their ids."""
  letters = string.ascii_lowercase + string.digits
  # Every second word of the captions is split into letters.
  words = sorted(
    {
      word.strip(string.punctuation).lower()
      for records in small_records.splits().values()
      for record in records
      for word in record.caption.split()
    }
  )[::2]
  tokens = dict.fromkeys(
    [
      *SPECIAL[name],
      *string.punctuation,
      *letters,
      *(f'##{letter}' for letter in letters),
      *words,
    ]
  )
  unused = (f'[unused{number}]' for number in range(size - len(tokens)))
  return [*tokens, *unused]
