"""Steps of Pair-DPO: two pairs of each record, their gradient, AdamW."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import preferences
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
  """A step of Pair-DPO.

  Attributes:
    pairs: records of a batch, each with a pair of captions and one of images.
    grid: side of the square of codes.
    text: tokens of a caption's part of a row, bos and eos included.
    prompt: tokens of the prompt about an image.
    reply: tokens of a caption that is learned, its end included.
    label_rows: see `learning.LearningConfig`.
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
    """Returns the step as it is done here.

    Captions are scored by the reference before a round, as always.
    """
    loss, prepare = self._functions(models.learner)
    return self._work(models.learner, loss, prepare, self._packed(models, rng))

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns a row for each side of each pair through both models."""
    model = models.learner
    rows = self.naive_rows(model, rng)
    batch = {
      name: jax.tree.map(jnp.asarray, each) for name, each in rows.items()
    }

    def score(model, rows, labels):
      sees = attention_mask.mask_matrix(rows.ar, rows.valid)
      hidden, _ = model(rows.tokens, sees, jnp.arange(rows.tokens.shape[-1]))
      return log_likelihood.sequence_logps(model.logits(hidden), labels)

    def scores(model, batch):
      return preferences.PairLogps(
        t2i=score(model, batch['t2i'], batch['t2i'].labels),
        mmu=score(
          model, batch['mmu'], log_likelihood.next_labels(batch['mmu'].labels)
        ),
      )

    def loss(model, reference, batch, key):
      del key
      return preferences.loss(
        scores(model, batch),
        scores(reference, batch),
        beta=_OBJECTIVE.beta,
        und_weight=_OBJECTIVE.und_weight,
        gen_weight=_OBJECTIVE.gen_weight,
      )

    return [self._work(model, loss, None, batch)]

  def naive_rows(self, model: showo.ShowO, rng: np.random.Generator):
    """Returns {'t2i', 'mmu': Rows [B, 2, T]}, with the masks applied."""
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
        vocab, np.stack([codes] * 2), [prompt] * 2, each, length
      )
      for codes, prompt, each in zip(real, prompts, replies)
    ]
    return {'t2i': t2i, 'mmu': jax.tree.map(lambda *a: np.stack(a), *mmu)}

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns what a step needs.

    The weights are read by three passes, the reference's by one; AdamW reads
    and writes weights and moments, and reads gradients.
    """
    records, hidden = self._records(models, np.random.default_rng(0))
    found = throughput.useful_work(
      models.learner.config,
      [{'packed': r, 'gen_valid': True, 'und_valid': True} for r in records],
      batch=self.pairs,
      masks=1,
      hidden=hidden.sum(-1).mean(),
      images_again=True,
      captions_again=False,
    )
    size = flop_count.tree_bytes(models.learner)
    read = flop_count.weight_bytes(
      models.learner, models.learner.config.vocab.size
    )
    return flop_count.Cost(found.flops, 4 * read + 7 * size)

  def _functions(self, model):
    loss = functools.partial(
      pair_loss.loss,
      objective=_OBJECTIVE,
      reply=self.reply,
      rows=self.label_rows,
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
    # It moves the weights from its first step on, and those whose gradient is
    # nothing but rounding next to not at all: equal steps stay equal.
    optim = adamw.AdamWConfig(lr=1e-2, steps=1_000, warmup=0.0, eps=1e-3)
    batch = jax.device_put(batch, sharding.replicated(mesh))
    step = train_step.make_step(loss, optim, jax.random.key(0), mesh, prepare)
    state = train_step.start_state(model, optim, mesh)
    program, arguments = step.parts(state, model)
    labels = packing.next_token_labels(
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
    """The same data as (`packing.PackedRecord`s, bool[B, I] what is masked)."""
    model = models.learner
    *data, hidden = self._data(model, rng)
    fit = packing.PackedLengths(self.text + 1, self.reply)
    return [
      packing.pack_record(
        model.config.vocab, text, drawn, real, prompt, replies, self.text, fit
      )
      for text, drawn, real, prompt, replies in zip(*data)
    ], hidden

  def _packed(self, models, rng):
    """The same data, as a batch of `record_rows.make_transform`."""
    model = models.learner
    rows, hidden = self._records(models, rng)
    packed = jax.tree.map(lambda *a: np.stack(a), *rows)
    mmu = packing.pair_logps(model, packed, None, self.label_rows)[0].mmu
    valid = np.ones(self.pairs, bool)
    return {
      'packed': packed,
      'hidden': hidden[:, None],
      'reference_mmu': mmu,
      'gen_valid': valid,
      'und_valid': valid,
    }
