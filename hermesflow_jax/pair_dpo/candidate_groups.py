"""Candidate groups with rewards: images or captions for an input.

GRPO (arXiv 2402.03300) learns from all candidates in a group, or from those
whose rewards vary most, where Pair-DPO takes the best and the worst. Rewards
are the scores from curation.
"""

import collections
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects

# Reasons to drop a group; groups that are used count as KEPT.
NO_DIFFERENCE, EASY, KEPT = 'no difference', 'easy', 'kept'


def join_groups(
  ids: Sequence[str],
  captions: Sequence[str],
  codes: np.ndarray,
  candidates: candidate_generation.Candidates,
  objective: objective_config.ObjectiveConfig,
) -> Sequence[dict]:
  """Joins candidates with their inputs.

  Equal captions for an input are merged: the group counts how often the model
  wrote them. Of images only `objective.group_images` are kept, those that
  `widest` chooses.

  Args:
    ids: N input ids.
    captions: N true captions.
    codes: int[N, I], codes that encode the real images.
    candidates: captions and images for these inputs, with scores.
    objective: says which kinds are learned from, and how many images.

  Returns:
    A record for each input: `id`, `caption`, `codes`; with images `images`
    int32[k, I], `image_rewards` float32[k], `image_mean`, the mean reward of
    all K images (of the first, if easy inputs have fewer), and `image_dropped`,
    the reason why the group cannot teach, or ''; with captions `captions`, M
    different texts, `caption_rewards` float32[M], `caption_counts` float32[M],
    which add up to all samples, and `caption_dropped`. A record is made when it
    is taken.
  """
  images, size = None, objective.group_images
  if objective.learns_images:
    scores = disk_arrays.empty(candidates.image_scores.shape, np.float32)
    scores[:] = candidates.image_scores
    easy, fewest = _easy_inputs(candidates)
    images = _chosen_images(candidates.codes, scores, size)
  merged = None
  if objective.learns_captions:
    # Texts in shards are read once, in their order.
    merged = disk_objects.keep(
      _merge_captions(candidates.captions[n], candidates.caption_scores[n])
      for n in range(len(ids))
    )

  def join(n):
    record = {'id': ids[n], 'caption': captions[n], 'codes': codes[n]}
    if images is not None:
      record |= {
        'images': np.asarray(images[n], np.int32),
        'image_rewards': scores[n, widest(scores[n], size)],
        'image_mean': float(scores[n, :fewest].mean()),
        'image_dropped': EASY if easy[n] else _drop_reason(scores[n]),
      }
    return record if merged is None else record | merged[n]

  return disk_objects.Computed(len(ids), join)


def _easy_inputs(candidates) -> tuple[np.ndarray, int]:
  """Returns whether an input has repeated images, bool[N]; and images of all.

  The mean reward of inputs is that of the images that each of them has: hard
  inputs have more.
  """
  count, images = candidates.image_scores.shape
  if candidates.drawn is None or not count:
    return np.zeros(count, bool), images
  drawn = np.asarray(candidates.drawn)
  return drawn < images, int(min(drawn.min(), images))


def widest(rewards: np.ndarray, size: int) -> np.ndarray:
  """Returns the places of the candidates whose rewards vary most.

  They are some of the best and some of the worst, which is the choice with the
  largest variance (PODS, arXiv 2504.13818). Of equal rewards the first are the
  best, and the last the worst.

  >>> widest(np.array([0.2, 1, 1, 0.6, 1, 0]), 4)
  array([0, 1, 2, 5])

  Args:
    rewards: float[K].
    size: how many; 0, or at least K: all.

  Returns:
    int[min(size, K)] in increasing order.
  """
  if not 0 < size < len(rewards):
    return np.arange(len(rewards))
  order = np.argsort(-rewards, kind='stable')
  options = [
    np.concatenate([order[:best], order[best - size :]])
    for best in range(1, size)
  ]
  values = np.asarray(rewards, np.float64)
  spread = values.max() - values.min()
  scaled = (values - values.min()) / (spread or 1.0)
  # Rounding must not choose among options that vary alike.
  variances = [np.round(np.var(scaled[places]), 9) for places in options]
  return np.sort(options[int(np.argmax(variances))])


def _chosen_images(codes, scores, size) -> np.ndarray:
  """Returns codes int32[N, k, I] of the images that `widest` chooses."""
  count, images, length = codes.shape
  if not 0 < size < images:
    if isinstance(codes, np.ndarray):
      return codes
    size = images
  # Codes in shards are read once, in their order.
  chosen = disk_arrays.empty((count, size, length), np.int32)
  for n in range(count):
    chosen[n] = codes[n][widest(scores[n], size)]
  return chosen


def _merge_captions(captions, scores) -> dict:
  """Returns different captions with rewards and counts; see `join_groups`."""
  places = {}
  for n, caption in enumerate(captions):
    places.setdefault(caption, []).append(n)
  rewards = np.array([scores[samples[0]] for samples in places.values()])
  rewards = rewards.astype(np.float32)
  counts = [len(samples) for samples in places.values()]
  return {
    'captions': list(places),
    'caption_rewards': rewards,
    'caption_counts': np.array(counts, np.float32),
    'caption_dropped': _drop_reason(rewards),
  }


def _drop_reason(rewards: np.ndarray) -> str:
  return '' if rewards.max() > rewards.min() else NO_DIFFERENCE


def trainable(records: Sequence[dict]) -> Sequence[dict]:
  """Returns the records with a group whose rewards differ.

  Args:
    records: from `join_groups`.
  """
  places = disk_arrays.Integers(
    n
    for n, record in enumerate(records)
    if '' in (record.get('image_dropped'), record.get('caption_dropped'))
  )
  return disk_objects.Computed(len(places), lambda n: records[places[n]])


def summarize(records: Sequence[dict]) -> dict:
  """Counts groups by reason, and averages rewards.

  Args:
    records: from `join_groups`.

  Returns:
    `groups`, like the `drops` for pairs: for 'caption' and 'image' groups by
    reason, 'kept' for those that are used; and `rewards`, the mean over all
    samples by kind. JSON types.
  """
  groups, rewards = {}, {}
  for kind in ('caption', 'image'):
    reasons = collections.Counter(
      r[f'{kind}_dropped'] or KEPT for r in records if f'{kind}_dropped' in r
    )
    if not reasons:
      continue
    groups[kind] = {name: reasons[name] for name in sorted(reasons)}
    means = disk_objects.Computed(
      len(records), lambda n, kind=kind: _mean_reward(records[n], kind)
    )
    rewards[kind] = float(disk_arrays.stack(means).mean())
  return {'groups': groups, 'rewards': rewards}


def summary_lines(summary: dict) -> list[str]:
  """Returns a line for each kind, e.g. '40 of 90 image groups differ'.

  Args:
    summary: from `summarize`.
  """
  return [
    f'{counts.get(KEPT, 0)} of {sum(counts.values())} {kind} groups differ in '
    f'reward{_easy_text(counts)}, mean reward {summary["rewards"][kind]:.3f}'
    for kind, counts in summary['groups'].items()
  ]


def _easy_text(counts):
  return f' ({counts[EASY]} are easy)' if EASY in counts else ''


def _mean_reward(record, kind):
  if f'{kind}_mean' in record:
    return record[f'{kind}_mean']
  counts = record.get(f'{kind}_counts')
  return np.average(record[f'{kind}_rewards'], weights=counts)
