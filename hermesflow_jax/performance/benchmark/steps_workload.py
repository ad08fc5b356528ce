"""The training workload: a Pair-DPO step with gradients and AdamW."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.training import adamw
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import log_likelihood
from hermesflow_jax.training import train_step

_OBJECTIVE = objective_config.ObjectiveConfig()


@dataclasses.dataclass(frozen=True)
class StepsWorkload:
  """A Pair-DPO training step.

  Attributes:
    pairs: records per batch. A record holds a caption pair and an image pair.
    grid: side of the square code grid.
    text: text tokens per text-to-image row, including bos and eos.
    prompt: tokens per prompt about an image.
    reply: tokens per caption, including its end token.
    label_rows: see `learning_config.LearningConfig`.
  """

  pairs: settings.PositiveInt
  grid: settings.PositiveInt
  text: settings.PositiveInt
  prompt: settings.PositiveInt
  reply: settings.PositiveInt
  label_rows: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)

  def ours(
    self, models: workload.Models, rng: np.random.Generator
  ) -> workload.Work:
    """Returns the library's training step.

    The reference has scored the captions before, as in a self-play round.
    """
    loss, prepare = self._functions(models.learner)
    return self._work(models.learner, loss, prepare, self._packed(models, rng))

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns a step that runs all winners and losers through both models."""
    model = models.learner
    rows = self.naive_rows(model, rng)
    batch = {
      task: jax.tree.map(jnp.asarray, task_rows)
      for task, task_rows in rows.items()
    }

    def score(model, rows, labels):
      mask = attention_mask.mask_matrix(rows.ar, rows.valid)
      hidden, _ = model(rows.tokens, mask, jnp.arange(rows.tokens.shape[-1]))
      return log_likelihood.sequence_logps(model.logits(hidden), labels)

    def scores(model, batch):
      return pair_margins.PairValues(
        t2i=score(model, batch['t2i'], batch['t2i'].labels),
        mmu=score(
          model, batch['mmu'], log_likelihood.next_labels(batch['mmu'].labels)
        ),
      )

    def loss(model, reference, batch, key):
      del key
      return pair_loss.preference_loss(
        methods.PairScores(scores(model, batch), scores(reference, batch)),
        _OBJECTIVE,
      )

    return [self._work(model, loss, None, batch)]

  def naive_rows(self, model: showo.ShowO, rng: np.random.Generator):
    """Returns {'t2i', 'mmu': Rows [B, 2, T]}, with masked image tokens."""
    vocab = model.config.vocab
    texts, drawn, real, prompts, replies, hidden = self._data(model, rng)
    t2i = [
      text_to_image.t2i_rows(vocab, [text] * 2, codes, self.text)
      for text, codes in zip(texts, drawn)
    ]
    t2i = jax.tree.map(lambda *a: np.stack(a), *t2i)
    tokens, labels = mask_schedules.apply_mask(
      vocab, t2i.tokens, t2i.labels, hidden[:, None], self.text + 2
    )
    t2i = dataclasses.replace(
      t2i, tokens=np.asarray(tokens), labels=np.asarray(labels)
    )
    length = self.grid**2 + 4 + self.prompt + self.reply
    mmu = [
      image_to_text.mmu_rows(
        vocab, np.stack([codes] * 2), [prompt] * 2, captions, length
      )
      for codes, prompt, captions in zip(real, prompts, replies)
    ]
    return {'t2i': t2i, 'mmu': jax.tree.map(lambda *a: np.stack(a), *mmu)}

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns the least work.

    Three passes read the policy weights, and a single pass reads the reference
    weights. AdamW reads and writes weights and moments, and reads gradients.
    """
    records, hidden = self._records(models, np.random.default_rng(0))
    step_cost = throughput.useful_work(
      models.learner.config,
      [{'packed': r, 'gen_valid': True, 'und_valid': True} for r in records],
      batch=self.pairs,
      masks=1,
      masked=hidden.sum(-1).mean(),
      images_again=True,
      captions_again=False,
    )
    size = flop_count.tree_bytes(models.learner)
    read = flop_count.weight_bytes(
      models.learner, models.learner.config.vocab.size
    )
    return flop_count.Cost(step_cost.flops, 4 * read + 7 * size)

  def _functions(self, model):
    loss = functools.partial(
      pair_loss.loss,
      objective=_OBJECTIVE,
      reply=self.reply,
      chunk_size=self.label_rows,
    )
    prepare = functools.partial(
      pair_loss.prepare_batch,
      masks=1,
      schedule=mask_schedules.cosine,
      image_tokens=model.config.image_tokens,
    )
    return loss, prepare

  def _work(self, model, loss, prepare, batch):
    mesh = jax.sharding.Mesh(
      np.array(jax.devices()[:1]).reshape(1, 1), ('data', 'model')
    )
    # No warmup: weights change from the first step. A large epsilon: weights
    # whose gradient is only rounding error barely change, so equal steps stay
    # equal.
    optim = adamw.AdamWConfig(lr=1e-2, steps=1_000, warmup=0.0, eps=1e-3)
    batch = jax.device_put(batch, sharding.replicated(mesh))
    # The key is a number also where the workload is only traced.
    with jax.ensure_compile_time_eval():
      step = train_step.make_step(loss, optim, jax.random.key(0), mesh, prepare)
    state = train_step.state_from_model(model, optim, mesh)
    program, arguments = step.program_and_arguments(state, model)
    labels = packing.max_labels(
      self.grid**2, 1, packing.PackedLengths(self.text + 1, self.reply)
    )
    return workload.Work(
      program,
      (*arguments, batch),
      carries=True,
      trips=chunked_log_likelihood.chunk_count(labels, self.label_rows),
    )

  def _data(self, model, rng):
    config = model.config
    texts = workload.random_texts(rng, config, self.pairs, self.text - 2)
    drawn = workload.random_codes(rng, config, self.pairs, 2, self.grid**2)
    real = workload.random_codes(rng, config, self.pairs, self.grid**2)
    prompts = workload.random_texts(rng, config, self.pairs, self.prompt)
    replies = [
      workload.random_texts(rng, config, 2, self.reply - 1)
      for _ in range(self.pairs)
    ]
    hidden = rng.random((self.pairs, self.grid**2)) < 0.6
    return texts, drawn, real, prompts, replies, hidden

  def _records(self, models, rng):
    """Returns the data as (packed records, bool[B, I] masked image tokens)."""
    model = models.learner
    *data, hidden = self._data(model, rng)
    lengths = packing.PackedLengths(self.text + 1, self.reply)
    return [
      packing.pack_record(
        model.config.vocab,
        text,
        drawn,
        real,
        prompt,
        replies,
        self.text,
        lengths,
      )
      for text, drawn, real, prompt, replies in zip(*data)
    ], hidden

  def _packed(self, models, rng):
    """Returns the data as a batch from `record_rows.make_transform`."""
    model = models.learner
    rows, hidden = self._records(models, rng)
    packed = jax.tree.map(lambda *a: np.stack(a), *rows)
    score = jax.jit(pair_log_likelihood.pair_logps, static_argnums=3)
    logps, _ = score(model, packed, None, self.label_rows)
    valid = np.ones(self.pairs, bool)
    return {
      'packed': packed,
      'masked': hidden[:, None],
      'reference_mmu': logps.mmu,
      'gen_valid': valid,
      'und_valid': valid,
    }
