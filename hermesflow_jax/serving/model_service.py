"""Runs batches of requests on a model: replies about images, and drawings."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import reply_scores
from hermesflow_jax.sampling import reply_stream
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.serving import question_groups
from hermesflow_jax.serving import searched_images

# Random keys derive from the seed of a request, not from a seed of the server.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class ReplyRequest:
  """A question about an image.

  Attributes:
    image: content of the image for grouping: equal images share a prefix.
    pixels: uint8[side, side, 3].
    prompt: what the user says.
    most_tokens: limit on the tokens of the reply.
    seed: random seed.
    number: number of the reply, of several to the same question.
    listener: is called with the tokens so far, int32[R], while the reply is
      sampled; None for a reply that is not streamed.
  """

  image: str
  pixels: np.ndarray
  prompt: str
  most_tokens: int = 10**6
  seed: int = 0
  number: int = 0
  listener: Callable[[np.ndarray], None] | None = None


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
class ScoreRequest:
  """A reply whose tokens' log-probabilities are asked for.

  Attributes:
    pixels: uint8[side, side, 3], what the question is about.
    prompt: the question.
    tokens: int[R], the reply.
  """

  pixels: np.ndarray
  prompt: str
  tokens: np.ndarray


class ModelService:
  """A model that serves batches of few sizes, so that few are compiled.

  Args:
    unified: the model.
    size: side of the images that it reads, in pixels.
    sampler: sampler of drawings.
    sizes: sizes of batches; smaller batches are padded. Those beyond the
      chunk of the model are left out.
    search: score and stages of searches.
  """

  def __init__(
    self,
    unified: unified_model.UnifiedModel,
    size: int,
    sampler: maskgit.MaskGITSampler,
    sizes: Sequence[int] = (1, 4, 8, 32),
    search: search_settings.Search = search_settings.Search(),
  ):
    self.unified, self.size, self.sampler = unified, size, sampler
    self._search = search
    devices = unified.mesh.shape['data']
    sizes = {-(-size // devices) * devices for size in sizes}
    self.sizes = tuple(sorted(s for s in sizes if s <= unified.chunk)) or (
      unified.chunk,
    )

  def prompt_tokens(self, prompt: str) -> int:
    """Returns the number of tokens of an image and a question.

    Args:
      prompt: the question.
    """
    unified = self.unified
    (tokens,) = unified.text.encode([unified.reader.user_turn(prompt)])
    # <|mmu|>, <|soi|>, <|eoi|> and <|sot|> stand around them.
    return unified.grid[0] * unified.grid[1] + 4 + len(tokens)

  def warm_up(self, top_k: int) -> int:
    """Compiles the programs of all batch sizes; returns how many batches ran.

    Replies to long questions and edits are compiled when they first come.

    Args:
      top_k: likeliest tokens that a sampled token is among.
    """
    decodings = batched.GREEDY, batched.Decoding(1.0, top_k)
    blank = np.zeros((self.size, self.size, 3), np.uint8)
    count = 0
    for size in self.sizes:
      self.draw([DrawRequest('a', n) for n in range(size)], self.sampler)
      count += 1
      for per_image in question_groups.SIZES:
        if size * per_image > self.sizes[-1]:
          continue
        questions = [
          ReplyRequest(str(n), blank, 'a', number=number)
          for n in range(size)
          for number in range(per_image)
        ]
        groups = np.arange(len(questions)).reshape(size, per_image)
        for decoding in decodings:
          self._sample(questions, groups, decoding)
          count += 1
    return count

  def run(self, kind, requests: Sequence) -> Sequence:
    """Runs a batch, see `request_queue.RequestQueue`.

    Args:
      kind: ('reply', Decoding), ('draw', sampler),
        ('edit', sampler), ('search', ...) or ('score',).
      requests: requests of this kind.
    """
    if kind[0] == 'reply':
      return self.reply(requests, kind[1])
    if kind[0] == 'search':
      return self.search(requests)
    if kind[0] == 'score':
      return self.score(requests)
    return self.draw(requests, kind[1])

  def search(
    self, requests: Sequence[searched_images.SearchRequest]
  ) -> list[np.ndarray]:
    """Draws candidates; returns uint8[images, side, side, 3] for each.

    Args:
      requests: see `searched_images.draw`.
    """
    if self._search.stages or self._search.wave:
      return searched_images.draw(
        self.unified, requests, self.sampler, self._search, _SEED
      )
    # The programs of single drawings are compiled, for any number of them.
    draws = [
      DrawRequest(r.prompt, r.seed, number, r.pixels, r.known)
      for r in requests
      for number in range(r.candidates)
    ]
    codes = self._draw_codes(draws, self.sampler)[: len(draws)]
    return searched_images.choose_best(self.unified, requests, codes)

  def score(
    self, requests: Sequence[ScoreRequest]
  ) -> list[reply_scores.TokenScores]:
    """Returns the log-probabilities of the tokens of replies.

    Args:
      requests: N replies with their questions.
    """
    padded = self._padded(requests)
    scores = reply_scores.token_scores(
      self.unified,
      self._to_read(np.stack([r.pixels for r in padded])),
      [r.prompt for r in padded],
      [r.tokens for r in padded],
    )
    return scores[: len(requests)]

  def reply(
    self, requests: Sequence[ReplyRequest], decoding: batched.Decoding
  ) -> list[np.ndarray]:
    """Replies to questions about images.

    Args:
      requests: N questions; those about an image are together in a group.
      decoding: text sampler.

    Returns:
      int32[R] for each, the ids of the reply with its end, or up to its limit.
    """
    unified = self.unified
    groups = question_groups.grouped(
      [request.image for request in requests],
      unified.grid[0] * unified.grid[1],
      batched.LENGTH_MULTIPLE + unified.lengths.reply,
      self.sizes,
    )
    rows = self._sample(requests, groups, decoding)
    replies = {}
    for number, tokens in zip(groups.reshape(-1), rows, strict=True):
      replies[int(number)] = tokens
    return [
      self._cut(replies[number], request.most_tokens)
      for number, request in enumerate(requests)
    ]

  def _sample(self, requests, groups, decoding) -> np.ndarray:
    """Returns int32[G * Q, R] for the questions of groups int[G, Q]."""
    rows = [requests[n] for n in groups.reshape(-1)]
    # The place of a question; its padding stands behind it.
    places = {int(n): place for place, n in enumerate(groups.reshape(-1))}
    listeners = [
      (request, places[number])
      for number, request in enumerate(requests)
      if request.listener
    ]

    def listen(tokens):
      for request, place in listeners:
        request.listener(self._cut(tokens[place], request.most_tokens))

    return reply_stream.sample_replies(
      self.unified,
      self._to_read(np.stack([requests[n].pixels for n in groups[:, 0]])),
      [[requests[n].prompt for n in numbers] for numbers in groups],
      decoding,
      batched.identity_keys(
        _SEED, [f'{r.seed}/{r.number}/{r.prompt}' for r in rows], 1
      ),
      listen,
      max(request.most_tokens for request in requests),
    )

  def _cut(self, tokens, most) -> np.ndarray:
    """Returns a reply up to its end token, or up to its limit."""
    ends = np.flatnonzero(tokens == self.unified.vocab.eos)
    return tokens[: min(int(ends[0]) + 1 if len(ends) else len(tokens), most)]

  def _to_read(self, pixels):
    if self.unified.vision is not None:
      return pixels
    return self.unified.encode(pixels)

  def _padded(self, requests) -> list:
    """Returns requests whose number is a size of batches."""
    count = question_groups.padded_count(len(requests), self.sizes)
    return [*requests, *[requests[-1]] * (count - len(requests))]

  def draw(
    self, requests: Sequence[DrawRequest], sampler: maskgit.MaskGITSampler
  ) -> list[np.ndarray]:
    """Draws images; returns uint8[side, side, 3] for each.

    Args:
      requests: N images; all new, or all changes of images.
      sampler: image sampler.
    """
    codes = self._draw_codes(requests, sampler)
    return list(self.unified.decode(codes)[: len(requests)])

  def _draw_codes(self, requests, sampler) -> np.ndarray:
    """Returns image codes int32[P, I]; those of N requests are the first."""
    unified, known, codes = self.unified, None, None
    padded = self._padded(requests)
    if requests[0].pixels is not None:
      codes = unified.encode(np.stack([r.pixels for r in padded]))[:, None]
      known = np.stack([r.known for r in padded])[:, None]
    drawn = unified.draw(
      [searched_images.image_name(r.seed, r.number, r.prompt) for r in padded],
      [r.prompt for r in padded],
      1,
      sampler,
      _SEED,
      codes=codes,
      known=known,
    )
    return drawn[:, 0]
