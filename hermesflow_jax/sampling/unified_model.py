"""One unified model at work: captions to images, images to answers and text.

Batches go over the mesh in chunks of few sizes, so samplers compile seldom.
Random keys come from the names of inputs and the number of a candidate, never
from their order.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows


@dataclasses.dataclass(frozen=True)
class UnifiedModel:
  """A model with everything that it needs to speak and draw.

  Attributes:
    model: a ShowO.
    tokenizer: a Magvit.
    text: the text tokenizer.
    lengths: sizes of rows.
    grid: (h, w) of the image tokens.
    mesh: from `sharding.make_mesh`.
    chunk: rows a compiled call; the mesh's `data` axis divides it.
    progress: (label) -> a wrapper of iterables, e.g. a progress bar.
    answering: how questions with choices are answered.
    matcher: finds the choice that is nearest to a free reply.
    caption_prompt: what captions are asked with.
    clock: a `timing.DeviceClock` of the device's time, or None.
  """

  model: Any
  tokenizer: Any
  text: text_tokenizer.TextTokenizer
  lengths: token_rows.Lengths
  grid: tuple[int, int]
  mesh: Any
  chunk: int
  progress: Callable[[str], Callable]
  answering: question_answering.AnswerConfig = question_answering.AnswerConfig()
  matcher: text_similarity.Matcher = text_similarity.nearest_choices
  caption_prompt: str = text_tokenizer.CAPTION_PROMPT
  clock: Any = None

  @property
  def vocab(self):
    """The model's vocabulary."""
    return self.model.config.vocab

  @functools.cached_property
  def _served(self):
    """The model in the form that samplers read."""
    return serving_weights.prepare_for_serving(self.model, self.mesh)

  def _mapped(self, label, function, arrays, each: int = 1):
    """Maps over inputs that stand for `each` rows.

    Few inputs make a smaller chunk, of a power of two a device: little is
    computed in vain, and little compiled.
    """
    data = self.mesh.shape['data']
    chunk = max(self.chunk // each // data, 1)
    count = len(jax.tree.leaves(arrays)[0])
    chunk = min(chunk, 1 << max(0, -(-count // data) - 1).bit_length()) * data
    return batching.map_batches(
      function, arrays, chunk, self.mesh, self.progress(label), self.clock
    )

  def encode(self, images: np.ndarray) -> np.ndarray:
    """Returns codes int32[N, I] of images uint8[N, H, W, 3]."""
    encode = functools.partial(batched.encode_batch, self.tokenizer)
    return self._mapped('encoding images', encode, images)

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """Returns images uint8[N, H, W, 3] of codes int[N, I] or int[N, h, w]."""
    grid = self.grid if codes.ndim == 2 else codes.shape[1:]
    decode = functools.partial(batched.decode_batch, self.tokenizer, grid=grid)
    return self._mapped('decoding images', decode, codes)

  def draw(
    self,
    names: Sequence[str],
    captions: Sequence[str],
    candidates: int,
    sampler: maskgit.MaskGITSampler,
    seed: int,
    *,
    codes=None,
    known=None,
  ) -> np.ndarray:
    """Samples images for captions.

    Args:
      names: N identities, which decide the randomness.
      captions: N texts.
      candidates: M images each.
      sampler: how.
      seed: of the run.
      codes: int[N, M, I], given in advance where
      known: bool[N, M, I] says so; None: nothing is given.

    Returns:
      codes int32[N, M, I].
    """
    tokens = self.text.encode(captions)
    rows = text_to_image.t2i_prefix(self.vocab, tokens, self.lengths.max_text)
    empty = text_to_image.t2i_prefix(self.vocab, [[]], self.lengths.max_text)
    # What is a pad in all rows is not computed.
    used = batched.padded_length(
      int(rows.valid.sum(-1).max()), rows.valid.shape[1]
    )
    skipped = rows.valid.shape[1] - used
    rows, empty = jax.tree.map(lambda a: a[:, skipped:], (rows, empty))
    empty = jax.tree.map(lambda a: jnp.asarray(a[0]), empty)
    counts = mask_schedules.schedule_counts(
      sampler.steps,
      self.grid[0] * self.grid[1],
      mask_schedules.parse_schedule(sampler.schedule),
    )
    # Images and replies of one name draw from different keys.
    keys = batched.identity_keys(
      seed, [f'image/{n}' for n in names], candidates
    )
    given = None
    if codes is not None:
      given = codes.astype(np.int32), known

    def draw(batch):
      with sharding.use_mesh(self.mesh):
        return batched.draw_images(
          self._served, *batch, empty, counts, config=sampler, skipped=skipped
        )

    return self._mapped('drawing images', draw, (keys, rows, given), candidates)

  def describe(
    self,
    names: Sequence[str],
    codes: np.ndarray,
    ladder: Sequence[batched.Decoding],
    seed: int,
  ) -> list[list[str]]:
    """Samples one caption per rung of the ladder about each image.

    Args:
      names: N identities, which decide the randomness.
      codes: int[N, I].
      ladder: M samplers.
      seed: of the run.

    Returns:
      N lists of M texts.
    """
    replies = self.reply(names, codes, [self.caption_prompt], ladder, seed)
    return [each for (each,) in replies]

  def reply(
    self,
    names: Sequence[str],
    codes: np.ndarray,
    asked: Sequence[str],
    ladder: Sequence[batched.Decoding],
    seed: int,
  ) -> list[list[list[str]]]:
    """Samples one reply per rung of the ladder to each prompt, of each image.

    Args:
      names: N identities, which decide the randomness.
      codes: int[N, I].
      asked: Q prompts; the image is read once for all.
      ladder: M samplers.
      seed: of the run.

    Returns:
      [N][Q][M] texts.
    """
    prompts = self.text.encode(
      [text_tokenizer.user_turn(prompt) for prompt in asked]
    )
    count, each = len(names), len(asked)
    images, prompts, lengths = self._parts(
      np.repeat(codes, each, axis=0), prompts * count
    )
    images, prompts, lengths = jax.tree.map(
      lambda a: a.reshape(count, each, *a.shape[1:]), (images, prompts, lengths)
    )
    images = jax.tree.map(lambda a: a[:, 0], images)
    spoken = [
      f'reply/{name}'
      + ('' if prompt == text_tokenizer.CAPTION_PROMPT else f'?{prompt}')
      for name in names
      for prompt in asked
    ]
    keys = batched.identity_keys(seed, spoken, len(ladder))
    keys = keys.reshape(count, each, *keys.shape[1:])
    tokens = self._mapped(
      'writing',
      functools.partial(self._write, ladder),
      (keys, images, prompts, lengths),
      each * len(ladder),
    )
    return [
      [[self.text.decode_reply(reply) for reply in rungs] for rungs in prompts]
      for prompts in tokens
    ]

  def _write(self, ladder: Sequence[batched.Decoding], batch):
    """`write_replies`, of a ladder."""
    rungs = (
      np.array([d.temperature for d in ladder], np.float32),
      np.array([d.top_k for d in ladder], np.int32),
    )
    return batched.write_replies(
      self._served,
      *batch,
      rungs,
      max_new=self.lengths.reply,
      most=max(d.top_k for d in ladder),
    )

  def answer(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers multiple-choice questions; see `answering`.

    An answer depends on its image and its question alone.

    Args:
      codes: int[N, I], images.
      questions: N lists of TIFA records about each image.

    Returns:
      N lists of chosen answers; '' where a free reply is like no choice.
    """
    flat = [(i, q) for i, each in enumerate(questions) for q in each]
    if not flat:
      return [[] for _ in questions]
    index = np.array([i for i, _ in flat])
    groups = self._groups([len(each) for each in questions], codes, flat)
    choices = [q['choices'] for _, q in flat]

    def ask(function, texts, more=(), blank=False):
      """Asks `texts`, one for each question.

      `more` are arrays beside them; of a blank image all codes are masked.
      """
      prompts = self.text.encode(
        [text_tokenizer.user_turn(each) for each in texts]
      )
      images, prompts, lengths = self._parts(codes[index], prompts)
      images = jax.tree.map(lambda a: a[groups[:, 0]], images)
      if blank:
        images = dataclasses.replace(
          images,
          tokens=np.where(
            images.tokens >= self.vocab.image_offset,
            self.vocab.mask,
            images.tokens,
          ),
        )
      rows = jax.tree.map(lambda a: a[groups], (prompts, lengths, *more))
      results = self._mapped(
        'answering questions', function, (images, *rows), groups.shape[1]
      )
      out = np.zeros((len(flat), *results.shape[2:]), results.dtype)
      out[groups] = results
      return out

    texts = [self.answering.asked(q) for _, q in flat]
    if self.answering.free:
      # Of one likeliest token nothing is drawn, whatever the key.
      def greedy(batch):
        keys = np.zeros((*batch[-1].shape, 1, 2), np.uint32)
        return self._write([batched.GREEDY], (keys, *batch))

      replies = [self.text.decode_reply(r) for r in ask(greedy, texts)[:, 0]]
      best = self.matcher(replies, choices)
    else:
      best = self._likeliest(ask, texts, choices)
    answers = [[] for _ in questions]
    for (i, q), number in zip(flat, best):
      answers[i].append('' if number is None else q['choices'][number])
    return answers

  def _groups(self, counts, codes, flat):
    """Which questions share one reading of their image, see `together`."""
    prompts = self.text.encode(
      [text_tokenizer.user_turn(self.answering.asked(q)) for _, q in flat]
    )
    longest = max(map(len, prompts)) + 1
    image = codes.shape[-1] + 3
    return batched.group_questions(
      counts, image, batched.padded_length(longest, self.lengths.prompt - image)
    )

  def _likeliest(self, ask, texts, choices):
    """The number of the likeliest choice of each question, int[N]."""
    rule = self.answering.rule
    rows = choice_rules.encode_choices(
      self.text, choices, whole=rule != 'constrained'
    )
    score = functools.partial(self._scored, choice_rules.RULES[rule])
    scores = ask(score, texts, (rows,))
    if rule == 'prior':
      scores = scores - ask(score, texts, (rows,), blank=True)
    # A question with fewer choices than others has rows without tokens.
    real = rows.valid.any(-1)
    return np.where(real, scores, -np.inf).argmax(-1)

  def _scored(self, rule, batch):
    """`_score_choices`, by a rule."""
    return batched.score_choices(self._served, *batch, rule=rule)

  def check_question(self, question: dict) -> None:
    """Raises ValueError for a TIFA record that does not fit into a row."""
    # <|mmu|>, <|soi|>, <|eoi|> and <|sot|> are there, too.
    space = self.lengths.prompt - self.grid[0] * self.grid[1] - 4
    asked = self.answering.asked(question)
    (tokens,) = self.text.encode([text_tokenizer.user_turn(asked)])
    if len(tokens) > space:
      raise ValueError(
        f'question must have at most {space} tokens, got {len(tokens)}: '
        f'{asked!r}'
      )

  def read_to(self, prompt: str) -> str | None:
    """Returns the last words that the model reads of a prompt that is cut.

    None: it is read whole.
    """
    # Two places are for the beginning and the end.
    room = self.lengths.max_text - 2
    (tokens,) = self.text.encode([prompt])
    if len(tokens) <= room:
      return None
    return self.text.decode(tokens[max(0, room - 6) : room])

  def _parts(self, codes, prompts):
    """`image_to_text.mmu_parts`, no longer than the prompts want it."""
    # <|sot|> stands before a prompt.
    image, longest = codes.shape[-1] + 3, max(map(len, prompts), default=0) + 1
    room = self.lengths.prompt - image
    return image_to_text.mmu_parts(
      self.vocab, codes, prompts, image + batched.padded_length(longest, room)
    )
