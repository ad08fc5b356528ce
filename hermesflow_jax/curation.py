"""Homologous preference data: the model's own captions, images and scores.

HermesFlow (arXiv 2502.12148), section 3.2. For one (image, caption) input the
model writes captions of the image and draws images of the caption. Captions
are scored against the true one, images by the model's own answers to the
caption's questions. The best is the winner, the worst the loser. No judge, no
ground truth of the world is used here.
"""

from collections.abc import Callable, Sequence
import dataclasses
import json

import numpy as np

from hermesflow_jax import inference
from hermesflow_jax import sampling
from hermesflow_jax import settings
from hermesflow_jax.evaluation import gap


@dataclasses.dataclass(frozen=True)
class Rules:
  """What makes a pair.

  Attributes:
    least_win: a winning image must score more than this.
    least_margin: a winner must beat its loser by more than this.
    both: only inputs with both pairs are trained on.
  """

  least_win: float = 0.6
  least_margin: float = 0.0
  both: bool = False

  def __post_init__(self):
    settings.require(
      self,
      {'least_win': 0, 'least_margin': 0},
      most={'least_win': 1, 'least_margin': 1},
    )


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What the model made of each input.

  Attributes:
    captions: N lists of M texts; caption_scores: float[N, M].
    codes: int32[N, K, I], images; image_scores: float[N, K], the share of
      the model's own answers that are right.
    answers: [N][K] lists of those answers.
  """

  captions: list[list[str]]
  caption_scores: np.ndarray
  codes: np.ndarray
  image_scores: np.ndarray
  answers: list[list[list[str]]]


@dataclasses.dataclass(frozen=True)
class Side:
  """One candidate: a caption (str) or codes (int32[I]), and its score."""

  value: object
  score: float


@dataclasses.dataclass(frozen=True)
class Pair:
  """A winner and a loser of one input, or why there is none.

  Attributes:
    win, lose: the two sides; kept also when dropped, for the next round.
    dropped: '' for a pair to train on, else the reason.
  """

  win: Side
  lose: Side
  dropped: str = ''


# Temperature and top-k of the captions, as in the official script.
LADDER = (inference.Decoding(1.0, 1),) + tuple(
  inference.Decoding(temperature, top_k)
  for top_k in (2, 3, 4)
  for temperature in (0.1, 0.7, 2.0)
)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How candidates are made and scored.

  Attributes:
    sampler: of the images.
    images: K drawn per caption.
    ladder: M caption samplers.
    similarity: scores captions against the true ones.
    seed: of this round.
  """

  sampler: sampling.MaskGIT
  images: int
  ladder: Sequence[inference.Decoding]
  similarity: Callable[[Sequence[str], Sequence[str]], np.ndarray]
  seed: int


def candidates(
  unified: inference.Unified, inputs: gap.Inputs, recipe: Recipe
) -> Candidates:
  """Lets the model caption, draw and judge each input.

  Args:
    unified: the newest model.
    inputs: N inputs.
    recipe: how.
  """
  return scored(inputs, recipe, *made(unified, inputs, recipe))


def made(unified: inference.Unified, inputs: gap.Inputs, recipe: Recipe):
  """Does a model's part of the work.

  Returns:
    (N lists of M captions, codes int32[N, K, I], N * K lists of answers).
  """
  captions = unified.describe(
    inputs.ids, inputs.codes, recipe.ladder, recipe.seed
  )
  codes = unified.draw(
    inputs.ids, inputs.captions, recipe.images, recipe.sampler, recipe.seed
  )
  asked = [q for q in inputs.questions for _ in range(recipe.images)]
  answers = unified.answer(codes.reshape(-1, codes.shape[-1]), asked)
  return captions, codes, answers


def scored(
  inputs: gap.Inputs, recipe: Recipe, captions, codes, answers
) -> Candidates:
  """Does the host's part of the work, with what `made` returned."""
  many = recipe.images
  truth = [c for c in inputs.captions for _ in recipe.ladder]
  flat = [c for each in captions for c in each]
  asked = [q for q in inputs.questions for _ in range(many)]
  similarity = np.asarray(recipe.similarity(flat, truth))
  right = [np.mean(gap.right(a, q)) for a, q in zip(answers, asked)]
  return Candidates(
    captions=captions,
    caption_scores=similarity.reshape(len(inputs), -1),
    codes=codes,
    image_scores=np.array(right).reshape(len(inputs), many),
    answers=[answers[i * many : (i + 1) * many] for i in range(len(inputs))],
  )


def choose(values, scores: np.ndarray, previous: Pair | None) -> Pair:
  """Returns the best and the worst candidate, by the paper's rule of rounds.

  From the second round on the best new candidate is the winner; if it beats
  the previous winner, that one becomes the loser, else the previous loser
  stays.

  Args:
    values: M candidates.
    scores: float[M]; of equal scores the first counts.
    previous: the pair of the round before, if any.
  """
  best, worst = int(np.argmax(scores)), int(np.argmin(scores))
  win = Side(values[best], float(scores[best]))
  if previous is None:
    return Pair(win, Side(values[worst], float(scores[worst])))
  beaten = win.score > previous.win.score
  return Pair(win, previous.win if beaten else previous.lose)


def judge_pair(pair: Pair, least_win: float, least_margin: float) -> Pair:
  """Returns the pair, marked as dropped if it cannot teach."""
  if pair.win.score <= least_win:
    reason = 'winner too weak'
  elif pair.win.score <= pair.lose.score:
    reason = 'no difference'
  elif pair.win.score - pair.lose.score <= least_margin:
    reason = 'difference too small'
  elif np.array_equal(pair.win.value, pair.lose.value):
    reason = 'same content'
  else:
    reason = ''
  return dataclasses.replace(pair, dropped=reason)


def pairs(
  found: Candidates,
  ids: Sequence[str],
  rules: Rules,
  previous: dict[str, tuple[Pair, Pair]],
) -> dict[str, tuple[Pair, Pair]]:
  """Returns (caption pair, image pair) of each input, by id.

  Args:
    found: of N inputs.
    ids: their names.
    rules: what makes a pair of images; a pair of captions has no least score.
    previous: the result of the round before, {} in the first.
  """
  out = {}
  for n, name in enumerate(ids):
    before = previous.get(name, (None, None))
    caption = choose(found.captions[n], found.caption_scores[n], before[0])
    image = choose(found.codes[n], found.image_scores[n], before[1])
    out[name] = (
      judge_pair(caption, -1.0, 0.0),
      judge_pair(image, rules.least_win, rules.least_margin),
    )
  return out


def record(name: str, caption: str, made: tuple[Pair, Pair]) -> dict:
  """Returns one pair as a JSON object; the codes are rows of `codes.npz`."""
  und, gen = made
  return {
    'id': name,
    'caption': caption,
    'caption_win': und.win.value,
    'caption_lose': und.lose.value,
    'caption_score_win': und.win.score,
    'caption_score_lose': und.lose.score,
    'caption_dropped': und.dropped,
    'codes_win': np.asarray(gen.win.value).tolist(),
    'codes_lose': np.asarray(gen.lose.value).tolist(),
    'vqa_score_win': gen.win.score,
    'vqa_score_lose': gen.lose.score,
    'image_dropped': gen.dropped,
  }


def from_record(row: dict) -> tuple[Pair, Pair]:
  """Returns the pairs that `record` wrote."""

  def codes(name):
    return np.array(row[name], np.int32)

  und = Pair(
    Side(row['caption_win'], row['caption_score_win']),
    Side(row['caption_lose'], row['caption_score_lose']),
    row['caption_dropped'],
  )
  gen = Pair(
    Side(codes('codes_win'), row['vqa_score_win']),
    Side(codes('codes_lose'), row['vqa_score_lose']),
    row['image_dropped'],
  )
  return und, gen


def dump(rows: Sequence[dict]) -> str:
  """Returns JSON lines; NaN is refused."""
  return ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows)


def drops(made: dict[str, tuple[Pair, Pair]]) -> dict[str, dict[str, int]]:
  """Returns how many pairs were kept, and how many dropped for each reason."""
  out = {'caption': {}, 'image': {}}
  for und, gen in made.values():
    for kind, pair in (('caption', und), ('image', gen)):
      reason = pair.dropped or 'kept'
      out[kind][reason] = out[kind].get(reason, 0) + 1
  return out
