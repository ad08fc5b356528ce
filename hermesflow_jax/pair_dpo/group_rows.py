"""Group records to token rows, and to rows with a few candidates each.

A group has K images and M captions. Its packed row would be many times as
long as a pair's, so a training step divides each group among R rows with at
most `ObjectiveConfig.group_part` images and captions, which it computes in
turn. Memory then does not grow with the group.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from hermesflow_jax.pair_dpo import longest_texts
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.sequences import text_tokenizer

IMAGES, CAPTIONS = 'images', 'captions'
# Frozen models: the start of the round, and the base model if the divergence is
# measured from it.
FROZEN = ('old', 'base')


@dataclasses.dataclass(frozen=True)
class GroupLayout:
  """Rows per group, all with the same shape.

  Attributes:
    rows: R, rows per group.
    images: images in each row; 0: the method learns no images.
    captions: captions in each row; 0: the method learns no captions.
  """

  rows: int
  images: int
  captions: int


def layout_of(images: int, captions: int, part: int) -> GroupLayout:
  """Returns the rows for groups with up to K images and M captions.

  >>> layout_of(16, 10, part=2)
  GroupLayout(rows=8, images=2, captions=2)
  >>> layout_of(4, 0, part=8)
  GroupLayout(rows=1, images=4, captions=0)

  Args:
    images: K, the most images in a group.
    captions: M, the most captions in a group.
    part: most images and most captions in a row.
  """
  rows = max(1, -(-images // part), -(-captions // part))
  return GroupLayout(rows, -(-images // rows), -(-captions // rows))


def layout_of_records(records: Sequence[dict], part: int) -> GroupLayout:
  """Returns the rows for records from `candidate_groups.join_groups`.

  Args:
    records: N records.
    part: see `layout_of`.
  """
  counts = [
    max(len(record.get(kind, ())) for record in records)
    for kind in (IMAGES, CAPTIONS)
  ]
  return layout_of(*counts, part)


def packed_lengths_of(
  unified, records: Sequence[dict]
) -> packing.PackedLengths:
  """Returns the longest text lengths in group records.

  Args:
    unified: model with vocabulary, text tokenizer and lengths.
    records: from `candidate_groups.join_groups`.
  """

  def encode(part):
    captions = unified.text.encode([record['caption'] for record in part])
    written = [text for r in part for text in r.get(CAPTIONS, ())]
    return captions, unified.text.encode_replies(written) if written else []

  return longest_texts.packed_lengths(
    unified.vocab, records, encode, unified.lengths
  )


def make_transform(
  unified,
  drop_condition: float,
  fit: packing.PackedLengths,
  layout: GroupLayout,
) -> Callable[[dict, np.random.Generator], dict]:
  """Returns the function from a group record to its row.

  The row has `packed`, a `packing.PackedRecord` with all candidates; `images`
  and `captions`, each a dictionary with `valid` bool[], whether the group is
  used, `rewards` float32[K], `counts` float32[K], 0 for candidates that fill up
  the rows, and `old` and `base`, scores by these frozen models if the record
  has them; and with fixed masks `masked` bool[J, I].

  Args:
    unified: model with vocabulary, text tokenizer, lengths and caption prompt.
    drop_condition: see `ObjectiveConfig`.
    fit: from `packed_lengths_of`.
    layout: from `layout_of_records`.
  """
  vocab, text, tower = unified.vocab, unified.text, unified.vision
  user_turn = text_tokenizer.user_turn if tower is None else clip_rows.user_turn
  prompt, system = text.encode(
    [user_turn(unified.caption_prompt), clip_rows.SYSTEM_PROMPT]
  )
  image_count = layout.rows * layout.images
  caption_count = layout.rows * layout.captions

  def make_row(record, rng):
    dropped = rng.random() < drop_condition
    (caption,) = text.encode([record['caption']])
    codes = np.asarray(record['codes'])
    row, replies = {}, []
    images = np.zeros((0, codes.size), np.int32)
    if image_count:
      images = _padded(record[IMAGES], image_count)
      row[IMAGES] = _rewards(record, 'image', image_count)
      for name in FROZEN:
        if f'{name}_images' in record:
          row[IMAGES][name] = record[f'{name}_images'][int(dropped)]
          row['masked'] = record['masked']
    if caption_count:
      replies = text.encode_replies(record[CAPTIONS])
      replies += [[]] * (caption_count - len(replies))
      row[CAPTIONS] = _rewards(record, 'caption', caption_count)
      for name in FROZEN:
        if f'{name}_captions' in record:
          row[CAPTIONS][name] = record[f'{name}_captions']
    row['packed'] = packing.pack_record(
      vocab,
      [] if dropped else caption,
      images,
      codes,
      prompt,
      replies,
      unified.lengths.max_text,
      fit,
      system=system,
      feature_count=0 if tower is None else tower.config.patches,
    )
    return row

  return make_row


def _rewards(record, kind, size) -> dict:
  rewards = record[f'{kind}_rewards']
  counts = record.get(f'{kind}_counts', np.ones_like(rewards))
  return {
    'valid': np.array(not record[f'{kind}_dropped']),
    'rewards': _padded(rewards, size),
    'counts': _padded(counts, size),
  }


def _padded(values: np.ndarray, size: int) -> np.ndarray:
  """Returns values [size, ...] with zeros at the end."""
  padding = [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1)
  return np.pad(values, padding)


def split_rows(batch: dict, layout: GroupLayout) -> dict:
  """Divides each group in a batch among R rows.

  A group's rows follow each other, and each has what its candidates share. So a
  device keeps its own groups, and each part in `batch_parts.sum_over_parts` has
  a row per group.

  Args:
    batch: rows from `make_transform`, stacked to [B, ...]; a `valid` must have
      been removed or divided.
    layout: the R rows.

  Returns:
    The same arrays [B * R, ...].
  """

  def share(a):
    return a.repeat(layout.rows, axis=0)

  def divide(a):
    return a.reshape(
      len(a) * layout.rows, a.shape[1] // layout.rows, *a.shape[2:]
    )

  rows = jax.tree.map(share, batch)
  for kind in (IMAGES, CAPTIONS):
    if kind in batch:
      rows[kind] = jax.tree.map(divide, batch[kind])
  packed = batch['packed']
  rows['packed'] = dataclasses.replace(
    rows['packed'],
    codes=divide(packed.codes),
    replies=divide(packed.replies),
    replied=divide(packed.replied),
  )
  return rows


def without_padding(row: dict) -> dict:
  """Returns a row with its candidates alone, to count useful work.

  Args:
    row: from `make_transform`.

  Returns:
    `packed`, `gen_valid` and `und_valid`, as `throughput` reads them.
  """
  packed, none = row['packed'], {'valid': np.array(False), 'counts': ()}
  images, captions = (row.get(kind, none) for kind in (IMAGES, CAPTIONS))
  image_count, caption_count = (
    int(np.sum(np.asarray(group['counts']) > 0)) for group in (images, captions)
  )
  return {
    'gen_valid': images['valid'],
    'und_valid': captions['valid'],
    'packed': dataclasses.replace(
      packed,
      codes=packed.codes[:image_count],
      replies=packed.replies[:caption_count],
      replied=packed.replied[:caption_count],
    ),
  }
