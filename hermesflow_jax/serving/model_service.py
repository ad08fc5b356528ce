"""Runs batches of requests on a model: replies about images, and drawings."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sampling import unified_model

# Random keys derive from the seed of a request, not from a seed of the server.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class ReplyRequest:
  """A question about an image.

  Attributes:
    image: content of the image for grouping: equal images share a prefix.
    pixels: uint8[side, side, 3].
    prompt: what the user says.
    seed: random seed.
    number: number of the reply, of several to the same question.
  """

  image: str
  pixels: np.ndarray
  prompt: str
  seed: int = 0
  number: int = 0


@dataclasses.dataclass(frozen=True)
class DrawRequest:
  """An image to draw.

  Attributes:
    prompt: text to draw.
    seed: random seed.
    number: number of the image, of several for the same prompt.
    pixels: uint8[side, side, 3], the image to change; None for a new image.
    known: bool[I], the codes of `pixels` that stay; None for a new image.
  """

  prompt: str
  seed: int = 0
  number: int = 0
  pixels: np.ndarray | None = None
  known: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SearchRequest:
  """Images to draw, the best of several candidates.

  Attributes:
    first: the first candidate; the others have the numbers that follow.
    images: number of the best candidates that are sent.
    candidates: number of candidates.
  """

  first: DrawRequest
  images: int
  candidates: int


@dataclasses.dataclass(frozen=True)
class Reply:
  """A reply.

  Attributes:
    text: the text.
    tokens: number of generated tokens, with the end.
    complete: whether the model ended it.
  """

  text: str
  tokens: int
  complete: bool


class ModelService:
  """A model that serves batches.

  Args:
    unified: the model.
    size: side of the images that it reads, in pixels.
    sampler: sampler of drawings.
    searching: score and stages of searches; `candidates` of it are drawn for
      each image of a request that gives no number.
  """

  def __init__(
    self,
    unified: unified_model.UnifiedModel,
    size: int,
    sampler: maskgit.MaskGITSampler,
    searching: search_settings.Search = search_settings.Search(),
  ):
    self.unified, self.size, self.sampler = unified, size, sampler
    self.searching = searching

  def prompt_tokens(self, prompt: str) -> int:
    """Returns the number of tokens of an image and a question.

    Args:
      prompt: the question.
    """
    unified = self.unified
    (tokens,) = unified.text.encode([unified.reader.user_turn(prompt)])
    # <|mmu|>, <|soi|>, <|eoi|> and <|sot|> stand around them.
    return unified.grid[0] * unified.grid[1] + 4 + len(tokens)

  def run(self, kind, requests: Sequence) -> Sequence:
    """Runs a batch, see `request_queue.RequestQueue`.

    Args:
      kind: ('reply', Decoding, limit on tokens), ('draw', sampler), ('edit',
        sampler), or ('search', kind of drawings, images, candidates).
      requests: requests of this kind.
    """
    if kind[0] == 'reply':
      return self.reply(requests, kind[1], kind[2])
    if kind[0] == 'search':
      return self.search(requests)
    return self.draw(requests, kind[1])

  def search(self, requests: Sequence[SearchRequest]) -> list[np.ndarray]:
    """Draws candidates and chooses the best by the likelihood of the prompt.

    Args:
      requests: N requests with the same numbers of images and candidates; all
        for new images, or all for changes of images.

    Returns:
      uint8[images, side, side, 3] for each, the best image first.
    """
    unified, first = self.unified, requests[0]
    count = first.candidates
    names = [
      _image_name(r.first, number) for r in requests for number in range(count)
    ]
    keys = batched.identity_keys(_SEED, [f'image/{n}' for n in names], 1)
    known_codes = None
    if first.first.pixels is not None:
      codes = unified.encode(np.stack([r.first.pixels for r in requests]))
      known = np.stack([r.first.known for r in requests])
      known_codes = tuple(
        np.repeat(values[:, None], count, axis=1) for values in (codes, known)
      )
    task = search.Task(
      unified,
      self.sampler,
      self.searching,
      [r.first.prompt for r in requests],
      keys.reshape(len(requests), count, -1),
      known_codes=known_codes,
    )
    chosen = search.choose(task, first.images).codes
    pixels = unified.decode(chosen.reshape(-1, chosen.shape[-1]))
    return list(pixels.reshape(*chosen.shape[:2], *pixels.shape[1:]))

  def reply(
    self,
    requests: Sequence[ReplyRequest],
    decoding: batched.Decoding,
    most_tokens: int,
  ) -> list[Reply]:
    """Replies to questions about images.

    Args:
      requests: N questions; those about an image are together in a group.
      decoding: text sampler.
      most_tokens: limit on the tokens of a reply.
    """
    groups = {}
    for number, request in enumerate(requests):
      groups.setdefault(request.image, []).append(number)
    order = [number for numbers in groups.values() for number in numbers]
    pixels = np.stack([requests[n[0]].pixels for n in groups.values()])
    names = [
      f'{requests[n].seed}/{requests[n].number}/{requests[n].prompt}'
      for n in order
    ]
    rows = self.unified.answerer.reply_tokens(
      self._to_read(pixels),
      [[requests[n].prompt for n in numbers] for numbers in groups.values()],
      decoding,
      batched.identity_keys(_SEED, names, 1),
    )
    tokens = [reply for replies in rows for reply in replies]
    replies = {
      number: self._reply(reply[:most_tokens])
      for number, reply in zip(order, tokens, strict=True)
    }
    return [replies[number] for number in range(len(requests))]

  def _to_read(self, pixels):
    if self.unified.vision is not None:
      return pixels
    return self.unified.encode(pixels)

  def _reply(self, tokens) -> Reply:
    ends = np.flatnonzero(tokens == self.unified.vocab.eos)
    complete = len(ends) > 0
    count = int(ends[0]) + 1 if complete else len(tokens)
    text = self.unified.text.decode_reply(tokens[:count])
    return Reply(text, count, complete)

  def draw(
    self, requests: Sequence[DrawRequest], sampler: maskgit.MaskGITSampler
  ) -> list[np.ndarray]:
    """Draws images; returns uint8[side, side, 3] for each.

    Args:
      requests: N images; all new, or all changes of images.
      sampler: image sampler.
    """
    unified, known = self.unified, None
    codes = None
    if requests[0].pixels is not None:
      codes = unified.encode(np.stack([r.pixels for r in requests]))[:, None]
      known = np.stack([r.known for r in requests])[:, None]
    drawn = unified.draw(
      [_image_name(r, r.number) for r in requests],
      [r.prompt for r in requests],
      1,
      sampler,
      _SEED,
      codes=codes,
      known=known,
    )
    return list(unified.decode(drawn[:, 0]))


def _image_name(request: DrawRequest, number: int) -> str:
  """Returns the name of an image, from which its random key derives."""
  return f'{request.seed}/{number}/{request.prompt}'
