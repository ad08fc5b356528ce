"""Homologous records to token rows."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.pair_dpo import longest_texts
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.sequences import clip_rows
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
  feature_count: int = 0,
) -> Callable[[dict, np.random.Generator], dict]:
  """Returns the function from a homologous record to its row.

  A homologous record has both pairs for an input: `caption`, `codes` int[I]
  (its image), `caption_win`, `caption_lose`, `codes_win` int[I], `codes_lose`
  int[I], `caption_dropped` and `image_dropped` (why a pair is missing, or
  ''), and the scores that `reference_scores.score_reference` adds. For the CLIP
  variant it may have `features` float[S, C] of its image, which captions then
  read.

  The row has `gen_valid` bool[] and `und_valid` bool[], whether the record has
  an image pair and a caption pair, and `packed`, a `packing.PackedRecord`.
  With `compat.plain` it has `t2i` and `mmu` Rows [2, T] instead.

  Args:
    vocab: vocabulary.
    text: text tokenizer.
    lengths: row lengths.
    drop_condition: see `ObjectiveConfig`.
    compat: official defects to reproduce.
    fit: see `packed_lengths_of`; None: as `lengths` allows.
    caption_prompt: prompt for captions.
    feature_count: S, features of an image that `real_images` adds to the rows;
      0 for a model that reads codes.
  """
  question = text_tokenizer.user_turn(caption_prompt)
  clip_question = clip_rows.user_turn(caption_prompt)
  if compat.other_prompt:
    question = official_defects.DETAILED_PROMPT
  (system,) = text.encode([clip_rows.SYSTEM_PROMPT])
  fit = fit or packing.PackedLengths(lengths.max_text + 1, lengths.reply)

  def make_row(record, rng):
    features = record.get('features')
    count = feature_count if features is None else len(features)
    if count:
      official_defects.check_clip_rows(compat)
    turn = clip_question if count else question
    caption, prompt = text.encode([record['caption'], turn])
    win, lose = _replies(text, record, compat)
    # Both sides share the first number, except under the official defect.
    drop = rng.random(2) < drop_condition
    if not compat.separate_drops:
      drop[1] = drop[0]
    conditions = [[] if dropped else caption for dropped in drop]
    images = np.stack([record['codes_win'], record['codes_lose']])
    row = {
      'gen_valid': np.array(not record['image_dropped']),
      'und_valid': np.array(not record['caption_dropped']),
    }
    if compat.plain:
      real = np.stack([record['codes']] * 2)
      return row | {
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
    row['packed'] = packing.pack_record(
      vocab,
      conditions[0],
      images,
      np.asarray(record['codes']),
      prompt,
      [win, lose],
      lengths.max_text,
      fit,
      sot=not compat.other_prompt,
      system=system,
      feature_count=count,
      features=features,
    )
    if 'reference_mmu' in record:
      row['reference_mmu'] = record['reference_mmu']
    if 'masked' in record:
      row['masked'] = record['masked']
      row['reference_t2i'] = record['reference_t2i'][int(drop[0])]
    return row

  return make_row


def packed_lengths_of(
  vocab: vocabulary.Vocab,
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  records: Sequence[dict],
  compat: official_defects.OfficialDefects = official_defects.OfficialDefects(),
) -> packing.PackedLengths:
  """Returns the longest text lengths in these records.

  Args:
    vocab: vocabulary.
    text: text tokenizer.
    lengths: upper bounds.
    records: homologous records, see `make_transform`.
    compat: official defects to reproduce.
  """

  def encode(part):
    captions = text.encode([record['caption'] for record in part])
    return captions, [ids for r in part for ids in _replies(text, r, compat)]

  return longest_texts.packed_lengths(vocab, records, encode, lengths)


def _replies(text, record, compat):
  """Returns the ids of the winning and the losing caption after a prompt."""
  # Captions of earlier releases begin with the space that separates them from
  # the prompt.
  captions = [record[f'caption_{side}'] for side in ('win', 'lose')]
  return text.encode_replies(
    [caption.removeprefix(' ') for caption in captions],
    space=official_defects.DETAILED_SPACE if compat.other_prompt else ' ',
  )


def join_pairs(
  inputs: input_set.Inputs, pairs: Mapping, both: bool
) -> Sequence[dict]:
  """Joins pairs with their inputs by id.

  Args:
    inputs: inputs with ids, captions and codes.
    pairs: (caption pair, image pair) by id.
    both: leave out inputs that lack either pair; otherwise leave out only
      inputs without any pair.

  Returns:
    Homologous records, see `make_transform`, with `id`. A record is made when
    it is taken.
  """
  places = disk_names.places(inputs.ids)
  names = disk_objects.keep(
    name
    for name, (und, gen) in pairs.items()
    if pair_selection.is_trainable(und.dropped, gen.dropped, both)
  )

  def join(n):
    name = names[n]
    place, (und, gen) = places[name], pairs[name]
    return {
      'id': name,
      'caption': inputs.captions[place],
      'codes': inputs.codes[place],
      'caption_win': und.win.value,
      'caption_lose': und.lose.value,
      'caption_dropped': und.dropped,
      'codes_win': np.asarray(gen.win.value, np.int32),
      'codes_lose': np.asarray(gen.lose.value, np.int32),
      'image_dropped': gen.dropped,
    }

  return disk_objects.Computed(len(names), join)
