"""Pretraining: what a record shows, and what each flow weighs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from hermesflow_jax.runtime import batching
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood
from hermesflow_jax.training import pretraining

RECORD = {
  'codes': np.array([3, 0, 15, 7]),
  'caption': 'two blue square',
  'qa': [('what color is the shape ?', 'red'), ('one star ?', 'no')],
}
MIXTURE = pretraining.TaskMixture(t2i=0.5, mmu=2.0, lm=0.25)


def rows_of(record, seed=0, **mixture):
  make = tiny.flows(pretraining.TaskMixture(**mixture))
  return make(record, np.random.default_rng(seed))


def ids(text):
  return tiny.text().encode([text])[0]


def scored(rows):
  """The labels of a row, in order."""
  return rows.labels[rows.labels != token_rows.UNSCORED].tolist()


def test_rows_have_the_lengths_of_the_run():
  rows, lengths = rows_of(RECORD), tiny.LENGTHS
  expected = {
    't2i': lengths.max_text + 1 + tiny.IMAGE_TOKENS + 2,
    'mmu': lengths.mmu,
    'lm': lengths.lm,
  }
  assert rows.keys() == expected.keys()
  for name, size in expected.items():
    for field in jax.tree.leaves(rows[name]):
      assert field.shape == (size,), name


def test_the_condition_is_the_caption_or_nothing():
  vocab, size = tiny.vocab(), tiny.LENGTHS.max_text + 1
  for drop, text in ((0.0, ids(RECORD['caption'])), (1.0, [])):
    rows = rows_of(RECORD, drop_condition=drop)
    expected = text_to_image.t2i_prefix(vocab, [text], tiny.LENGTHS.max_text)
    np.testing.assert_array_equal(rows['t2i'].tokens[:size], expected.tokens[0])


def test_mmu_rows_are_captions_or_answers():
  eos = tiny.vocab().eos
  caption = [*ids(RECORD['caption']), eos]
  answers = [[*ids(answer), eos] for _, answer in RECORD['qa']]
  for seed in range(8):
    assert scored(rows_of(RECORD, seed, caption_share=1.0)['mmu']) == caption
    assert scored(rows_of(RECORD, seed, caption_share=0.0)['mmu']) in answers


def test_the_prompt_is_the_question_of_the_answer():
  for seed in range(4):
    rows = rows_of(RECORD, seed, caption_share=0.0)['mmu']
    question = RECORD['qa'][scored(rows)[0] == ids('no')[0]][0]
    prompt = ids(text_tokenizer.user_turn(question))
    begin = tiny.IMAGE_TOKENS + 4
    assert rows.tokens[begin : begin + len(prompt)].tolist() == prompt


def test_a_record_without_questions_shows_its_caption():
  rows = rows_of(RECORD | {'qa': []}, caption_share=0.0)
  assert scored(rows['mmu'])[:-1] == ids(RECORD['caption'])


def test_lm_rows_are_the_caption():
  eos = tiny.vocab().eos
  expected = [eos, *ids(RECORD['caption']), eos]
  assert scored(rows_of(RECORD)['lm']) == expected


@pytest.fixture(scope='module')
def batch():
  make = tiny.flows(MIXTURE)
  rng = np.random.default_rng(0)
  return batching.stack([make(record, rng) for record in tiny.records(6)])


@functools.cache
def loss_and_gradient():
  loss = functools.partial(
    pretraining.loss,
    mixture=MIXTURE,
    schedule=mask_schedules.cosine,
    image_tokens=tiny.IMAGE_TOKENS,
    reply=tiny.LENGTHS.reply,
  )
  return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope='module')
def model():
  return tiny.show_o(jax.random.key(0))


@pytest.fixture(scope='module')
def result(model, batch):
  """((loss, metrics), gradient)."""
  return loss_and_gradient()(model, None, batch, jax.random.key(2))


def test_the_loss_is_the_weighted_sum_of_the_flows(result):
  (value, metrics), _ = result
  expected = (
    MIXTURE.t2i * metrics['loss/t2i']
    + MIXTURE.mmu * metrics['loss/mmu']
    + MIXTURE.lm * metrics['loss/lm']
  )
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_each_parameter_learns(result):
  _, grads = result
  leaves, _ = jax.tree_util.tree_flatten_with_path(grads)
  still = [jax.tree_util.keystr(path) for path, g in leaves if not g.any()]
  assert still == []


def test_text_flows_are_means_over_all_scored_tokens(model, batch, result):
  (_, metrics), _ = result

  @jax.jit
  def nll(model, rows):
    mask = attention_mask.mask_matrix(rows.ar, rows.valid)
    hidden, _ = model(rows.tokens, mask, jnp.arange(rows.tokens.shape[-1]))
    labels = log_likelihood.next_labels(rows.labels)
    total = log_likelihood.token_logps(model.logits(hidden), labels).sum()
    return -total / log_likelihood.label_counts(labels).sum()

  for name in ('mmu', 'lm'):
    np.testing.assert_allclose(
      metrics[f'loss/{name}'], nll(model, batch[name]), rtol=1e-5
    )


def test_the_key_decides_the_masks_and_nothing_else(model, batch, result):
  run = loss_and_gradient()
  (_, same), _ = run(model, None, batch, jax.random.key(2))
  (_, other), _ = run(model, None, batch, jax.random.key(3))
  (_, metrics), _ = result
  assert same == metrics
  assert other['loss/t2i'] != metrics['loss/t2i']
  assert other['loss/mmu'] == metrics['loss/mmu']
  assert other['loss/lm'] == metrics['loss/lm']
