"""Runs batches of requests on a model: replies about images, and drawings."""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import reply_scores
from hermesflow_jax.sampling import reply_stream
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.serving import question_groups
from hermesflow_jax.serving import searched_images
from hermesflow_jax.serving import served_images
from hermesflow_jax.serving import service_requests

# Random keys derive from the seed of a request, not from a seed of the server.
_SEED = 0


class ModelService:
  """A model that serves batches of few sizes, so that few are compiled.

  Args:
    unified: the model.
    size: side of the images that it reads, in pixels.
    sampler: sampler of drawings.
    sizes: sizes of batches; smaller batches are padded. Those beyond the
      chunk of the model are left out.
    search: score and stages of searches.

  Attributes:
    sizes: sizes of all batches, increasing.
    compiled: the smallest of them, whose programs are compiled; all of them,
      unless `warm_up.compile_programs` is at work.
    images: images of the last requests.
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
    self.compiled = self.sizes
    self.images = served_images.ImageMemory()

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
      kind: ('reply',), ('score',), ('draw', sampler), ('edit', sampler) or
        ('search', ...).
      requests: requests of this kind.
    """
    if kind[0] == 'reply':
      return self.reply(requests)
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
      service_requests.DrawRequest(r.prompt, r.seed, number, r.pixels, r.known)
      for r in requests
      for number in range(r.candidates)
    ]
    codes = self._draw_codes(draws, self.sampler)[: len(draws)]
    return searched_images.choose_best(self.unified, requests, codes)

  def score(
    self, requests: Sequence[service_requests.ScoreRequest]
  ) -> list[reply_scores.TokenScores]:
    """Returns the log-probabilities of the tokens of replies.

    Args:
      requests: N replies with their questions.
    """
    padded = self._padded(requests)
    scores = reply_scores.token_scores(
      self.unified,
      self._read([r.image for r in padded]),
      [r.prompt for r in padded],
      [r.tokens for r in padded],
    )
    return scores[: len(requests)]

  def reply(
    self, requests: Sequence[service_requests.ReplyRequest]
  ) -> list[np.ndarray]:
    """Replies to questions about images.

    Args:
      requests: N questions; those about an image are together in a group.
        Their `top_k` are equal, but for greedy ones: the noise of a token has
        this size, and a reply depends on no other request.

    Returns:
      int32[R] for each, the ids of the reply with its end, or up to its limit.
    """
    unified = self.unified
    groups = question_groups.grouped(
      [request.image.name for request in requests],
      unified.grid[0] * unified.grid[1],
      batched.LENGTH_MULTIPLE + unified.lengths.reply,
      self.compiled,
    )
    rows = self.sample(requests, groups)
    replies = {}
    for number, tokens in zip(groups.reshape(-1), rows, strict=True):
      replies[int(number)] = tokens
    return [
      self._cut(replies[number], request.most_tokens)
      for number, request in enumerate(requests)
    ]

  def sample(
    self, requests: Sequence[service_requests.ReplyRequest], groups: np.ndarray
  ) -> np.ndarray:
    """Samples replies to groups of questions about the same image.

    Args:
      requests: questions.
      groups: int[G, Q], numbers of questions.

    Returns:
      int32[G * Q, R], ids of the replies.
    """
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
      self._read([requests[n].image for n in groups[:, 0]]),
      [[requests[n].prompt for n in numbers] for numbers in groups],
      [request.decoding for request in rows],
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

  def _read(self, images) -> np.ndarray:
    """Returns images as the model reads them."""
    return served_images.read_images(self.unified, images, self.compiled)

  def _padded(self, requests) -> list:
    """Returns requests whose number is a size of batches."""
    count = question_groups.padded_count(len(requests), self.compiled)
    return [*requests, *[requests[-1]] * (count - len(requests))]

  def draw(
    self,
    requests: Sequence[service_requests.DrawRequest],
    sampler: maskgit.MaskGITSampler,
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
