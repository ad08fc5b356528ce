"""Homologous records to token rows."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


def make_transform(
  vocab: vocabulary.Vocab,
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  drop_condition: float,
  compat: official_defects.OfficialDefects = official_defects.OfficialDefects(),
  fit: packing.PackedLengths | None = None,
  caption_prompt: str = text_tokenizer.CAPTION_PROMPT,
) -> Callable[[dict, np.random.Generator], dict]:
  """Returns the function from a homologous record to its arrays.

  The record has `codes` int[I] (the real image), `caption`, `caption_win`,
  `caption_lose`, `codes_win`, `codes_lose`, and `caption_dropped`,
  `image_dropped`, '' where there is a pair; and what `score_reference` adds.

  Args:
    vocab: the vocabulary.
    text: the tokenizer.
    lengths: of rows.
    drop_condition: see `ObjectiveConfig`.
    compat: official defects to reproduce.
    fit: see `packed_lengths_of`; None: as long as `lengths` allow.
    caption_prompt: what captions are asked with.
  """
  question = text_tokenizer.user_turn(caption_prompt)
  if compat.other_prompt:
    question = official_defects.DETAILED_PROMPT
  fit = fit or packing.PackedLengths(lengths.max_text + 1, lengths.reply)

  def arrays(record, rng):
    caption, prompt = text.encode([record['caption'], question])
    win, lose = _replies(text, record, compat)
    # One draw for both, unless the official two are asked for.
    drop = rng.random(2) < drop_condition
    if not compat.separate_drops:
      drop[1] = drop[0]
    conditions = [[] if dropped else caption for dropped in drop]
    images = np.stack([record['codes_win'], record['codes_lose']])
    out = {
      'gen_valid': np.array(not record['image_dropped']),
      'und_valid': np.array(not record['caption_dropped']),
    }
    if compat.plain:
      real = np.stack([record['codes']] * 2)
      return out | {
        't2i': text_to_image.t2i_rows(
          vocab, conditions, images, lengths.max_text
        ),
        'mmu': image_to_text.mmu_rows(
          vocab,
          real,
          [prompt] * 2,
          [win, lose],
          lengths.mmu,
          sot=not compat.other_prompt,
        ),
      }
    out['packed'] = packing.pack_record(
      vocab,
      conditions[0],
      images,
      np.asarray(record['codes']),
      prompt,
      [win, lose],
      lengths.max_text,
      fit,
      sot=not compat.other_prompt,
    )
    if 'reference_mmu' in record:
      out['reference_mmu'] = record['reference_mmu']
    if 'hidden' in record:
      out['hidden'] = record['hidden']
      out['reference_t2i'] = record['reference_t2i'][int(drop[0])]
    return out

  return arrays


def packed_lengths_of(
  vocab: vocabulary.Vocab,
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  records: Sequence[dict],
  compat: official_defects.OfficialDefects = official_defects.OfficialDefects(),
) -> packing.PackedLengths:
  """Returns how long the texts of these records are at most."""
  captions = text.encode([r['caption'] for r in records])
  replies = [ids for r in records for ids in _replies(text, r, compat)]
  return packing.packed_lengths(vocab, captions, replies, lengths)


def _replies(text, record, compat):
  """The ids of the winning and the losing caption as they follow a prompt."""
  # Captions of earlier releases begin with the space that comes before them.
  captions = [record[f'caption_{side}'] for side in ('win', 'lose')]
  return text.encode_replies(
    [caption.removeprefix(' ') for caption in captions],
    space=official_defects.DETAILED_SPACE if compat.other_prompt else ' ',
  )


def join_pairs(inputs: input_set.Inputs, pairs: dict, both: bool) -> list[dict]:
  """Joins pairs with their inputs by id.

  Args:
    inputs: of the round.
    pairs: of captions and of images, by id.
    both: leave out inputs that lack one pair; otherwise those without any.
  """
  by_id = dict(zip(inputs.ids, zip(inputs.captions, inputs.codes)))
  rows = []
  for name, (und, gen) in pairs.items():
    if not pair_selection.is_trainable(und.dropped, gen.dropped, both):
      continue
    caption, codes = by_id[name]
    rows.append(
      {
        'id': name,
        'caption': caption,
        'codes': codes,
        'caption_win': und.win.value,
        'caption_lose': und.lose.value,
        'caption_dropped': und.dropped,
        'codes_win': np.asarray(gen.win.value, np.int32),
        'codes_lose': np.asarray(gen.lose.value, np.int32),
        'image_dropped': gen.dropped,
      }
    )
  return rows
