"""Pair-DPO training: homologous pairs share all but what makes them a pair."""

import dataclasses
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import preferences
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.pair_dpo import reference_scores
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import adamw
from hermesflow_jax.training import log_likelihood
from hermesflow_jax.training import train_step

MAX_TEXT = 12


def texts_of(rows):
  """The text before the images of both sides, [2, max_text + 1]."""
  return rows['t2i'].tokens[:, : tiny.LENGTHS.max_text + 1]


def plain_rows_of(record, **compat):
  return tiny_pairs.rows_of(record, separate_drops=True, **compat)


def test_rows_are_pairs_of_the_lengths_of_the_run():
  rows, lengths = plain_rows_of(tiny_pairs.record()), tiny.LENGTHS
  image = lengths.max_text + 1 + tiny.IMAGE_TOKENS + 2
  for field in jax.tree.leaves(rows['t2i']):
    assert field.shape == (2, image)
  for field in jax.tree.leaves(rows['mmu']):
    assert field.shape == (2, lengths.mmu)
  assert rows['und_valid'].shape == rows['gen_valid'].shape == ()


def test_sides_differ_only_where_they_must():
  rows, given, vocab = (
    plain_rows_of(tiny_pairs.record()),
    tiny_pairs.record(),
    tiny.vocab(),
  )
  win, lose = texts_of(rows)
  np.testing.assert_array_equal(win, lose)
  for side, name in enumerate(('win', 'lose')):
    np.testing.assert_array_equal(
      rows['t2i'].tokens[side, -tiny.IMAGE_TOKENS - 1 : -1],
      given[f'codes_{name}'] + vocab.image_offset,
    )
    labels = rows['mmu'].labels[side]
    (caption,) = tiny.text().encode([given[f'caption_{name}']])
    assert labels[labels != -100].tolist() == [*caption, vocab.eos]
    np.testing.assert_array_equal(
      rows['mmu'].tokens[side, 2 : 2 + tiny.IMAGE_TOKENS],
      given['codes'] + vocab.image_offset,
    )


def test_a_condition_is_dropped_as_often_as_said():
  def caption(drop, seed=0):
    return tiny_pairs.rows_of(tiny_pairs.record(), drop, seed)[
      'packed'
    ].caption.tokens

  empty, whole = caption(1.0), caption(0.0)
  found = [caption(0.5, seed) for seed in range(20)]
  dropped = [(tokens == empty).all() for tokens in found]
  assert all(d or (t == whole).all() for d, t in zip(dropped, found))
  assert 4 < sum(dropped) < 16


def test_compat_draws_the_conditions_apart():
  found = [
    texts_of(
      tiny_pairs.rows_of(tiny_pairs.record(), 0.5, seed, separate_drops=True)
    )
    for seed in range(20)
  ]
  assert 4 < sum((win != lose).any() for win, lose in found) < 16


@pytest.mark.parametrize(
  'caption, image', [('', ''), ('no difference', ''), ('', 'winner too weak')]
)
def test_a_dropped_side_is_not_valid(caption, image):
  rows = tiny_pairs.rows_of(tiny_pairs.record(0, caption, image))
  assert rows['und_valid'] == (not caption)
  assert rows['gen_valid'] == (not image)


def lists(padded):
  return [[int(i) for i in row if i >= 0] for row in padded]


@pytest.fixture(scope='module')
def official(golden, golden_policy):
  """The official pairs as a batch, and their mask bool[4, 1, I]."""
  vocab = golden_policy.config.vocab

  def pair(make):
    sides = [make(side) for side in ('win', 'lose')]
    return jax.tree.map(lambda *a: np.stack(a, axis=1), *sides)

  def t2i(side):
    return text_to_image.t2i_rows(
      vocab,
      lists(golden['t2i_text_ids']),
      golden[f't2i_{side}_tokens'],
      MAX_TEXT,
    )

  def mmu(side):
    captions = lists(golden[f'mmu_{side}_text'])
    return image_to_text.mmu_rows(
      vocab,
      golden['mmu_image_tokens'],
      [[]] * 3,
      [[vocab.sot, *caption] for caption in captions],
      31,
      sot=False,
    )

  return {'t2i': pair(t2i), 'mmu': pair(mmu)}, golden['t2i_mask'][:, None]


@functools.partial(jax.jit, static_argnames='reply')
def pair_logps(model, batch, hidden, reply=14):
  return official_defects.unpacked_pair_logps(model, batch, hidden, reply)


@pytest.mark.parametrize('name', ['policy', 'reference'])
def test_log_likelihoods_are_the_official_ones(request, golden, official, name):
  found, _ = pair_logps(request.getfixturevalue(f'golden_{name}'), *official)
  for task in ('t2i', 'mmu'):
    for side, place in ('win', preferences.WIN), ('lose', preferences.LOSE):
      # Up to seventeen log-probabilities, each within the logits' tolerance.
      np.testing.assert_allclose(
        getattr(found, task)[:, place],
        golden[f'logp_{name}_{task}_{side}'],
        atol=5e-4,
        err_msg=f'{task} {side}',
      )


def test_counts_are_of_what_is_scored(golden, golden_policy, official):
  _, counts = pair_logps(golden_policy, *official)
  # <|soi|> and <|eoi|> are scored as well.
  wanted = golden['t2i_mask'].sum(-1) + 2
  np.testing.assert_array_equal(counts.t2i, np.stack([wanted] * 2, axis=-1))
  batch, _ = official
  labels = batch['mmu'].labels
  np.testing.assert_array_equal(counts.mmu, (labels != -100).sum(-1))


def test_equal_images_have_equal_log_likelihoods(golden_policy, official):
  batch, hidden = official
  twins = jax.tree.map(
    lambda a: np.stack([a[:, 0], a[:, 0]], axis=1), batch['t2i']
  )
  found, _ = pair_logps(golden_policy, batch | {'t2i': twins}, hidden)
  # Only the mask could tell the sides apart; they share it.
  np.testing.assert_allclose(found.t2i[:, 0], found.t2i[:, 1], rtol=1e-6)


def test_log_likelihoods_of_several_masks_are_averaged(golden_policy, official):
  batch, hidden = official
  other = ~hidden
  both, counts = pair_logps(
    golden_policy, batch, np.concatenate([hidden, other], axis=1)
  )
  one, one_counts = pair_logps(golden_policy, batch, hidden)
  two, two_counts = pair_logps(golden_policy, batch, other)
  np.testing.assert_allclose(both.t2i, (one.t2i + two.t2i) / 2, rtol=1e-5)
  np.testing.assert_allclose(counts.t2i, (one_counts.t2i + two_counts.t2i) / 2)
  np.testing.assert_allclose(both.mmu, one.mmu, rtol=1e-5)


def test_gradients_of_several_masks_are_averaged(golden_policy, official):
  batch, hidden = official

  @jax.jit
  @jax.grad
  def slope(model, hidden):
    return (
      official_defects.unpacked_pair_logps(model, batch, hidden, 14)[0]
      .t2i[:, 0]
      .sum()
    )

  both = slope(golden_policy, np.concatenate([hidden, ~hidden], axis=1))
  one, two = slope(golden_policy, hidden), slope(golden_policy, ~hidden)
  for found, a, b in zip(*map(jax.tree.leaves, (both, one, two)), strict=True):
    np.testing.assert_allclose(
      found, (a + b) / 2, atol=1e-5 * max(1, np.abs(a).max()), rtol=1e-3
    )
  head = [each.head.kernel[...] for each in (one, two)]
  assert np.abs(head[0] - head[1]).max() > 0.1


def test_images_as_text_are_scored_by_the_token_before(golden_policy, official):
  batch, hidden = official
  rows = jax.tree.map(lambda a: a[:, 0], batch['t2i'])

  @jax.jit
  def whole(model, rows, hidden):
    tokens, labels = mask_schedules.apply_mask(
      model.config.vocab, rows.tokens, rows.labels, hidden, MAX_TEXT + 2
    )
    mask = attention_mask.mask_matrix(rows.ar, rows.valid)
    states, _ = model(tokens, mask, jnp.arange(tokens.shape[-1]))
    return model.logits(states), tokens, labels

  found = jax.jit(official_defects.image_logps_as_text)(
    golden_policy, rows, hidden[:, 0]
  )
  logits, tokens, labels = whole(golden_policy, rows, hidden[:, 0])
  masked = token_rows.Rows(
    np.asarray(tokens), np.asarray(labels), rows.ar, rows.valid
  )
  wanted = log_likelihood.sequence_logps(
    logits, log_likelihood.next_labels(text_to_image.lm_text_labels(masked))
  )
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


@functools.cache
def loss_and_gradient():
  def loss(model, reference, batch, key):
    return tiny_pairs.LOSS(model, reference, tiny_pairs.PREPARE(batch, key))

  return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope='module')
def models():
  """(policy, reference)."""
  return [tiny.show_o(jax.random.key(n)) for n in (0, 1)]


def test_at_the_reference_each_kind_of_pair_costs_log_two(models):
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(1, 'no difference'),
    tiny_pairs.record(2),
  )
  (value, metrics), _ = loss_and_gradient()(
    models[0], models[0], batch, tiny_pairs.KEY
  )
  np.testing.assert_allclose(metrics['gen/loss'], np.log(2), rtol=1e-6)
  np.testing.assert_allclose(metrics['und/loss'], np.log(2), rtol=1e-6)
  np.testing.assert_allclose(
    value,
    2 * np.log(2)
    + 0.3 * metrics['gen/winner_nll']
    + 0.2 * metrics['und/winner_nll'],
    rtol=1e-6,
  )


def test_each_parameter_learns(models):
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0), tiny_pairs.record(1), tiny_pairs.record(2)
  )
  _, grads = loss_and_gradient()(*models, batch, tiny_pairs.KEY)
  leaves, _ = jax.tree_util.tree_flatten_with_path(grads)
  still = [jax.tree_util.keystr(path) for path, g in leaves if not g.any()]
  assert still == []


def test_a_record_without_pairs_has_no_influence(models):
  run, dropped = loss_and_gradient(), ('no difference', 'no difference')
  results = []
  for n in (1, 7):
    batch = tiny_pairs.batch_of(
      tiny_pairs.record(0), tiny_pairs.record(n, *dropped), tiny_pairs.record(2)
    )
    (value, metrics), grads = run(*models, batch, tiny_pairs.KEY)
    results.append((value, metrics, grads))
  jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_pair_of_one_kind_counts_for_that_kind_alone(models):
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(1, image_dropped='same content'),
    tiny_pairs.record(2),
  )
  other = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(7, image_dropped='same content'),
    tiny_pairs.record(2),
  )
  (_, a), _ = loss_and_gradient()(*models, batch, tiny_pairs.KEY)
  (_, b), _ = loss_and_gradient()(*models, other, tiny_pairs.KEY)
  assert a['gen/loss'] == b['gen/loss']
  assert a['und/loss'] != b['und/loss']


def test_the_product_is_a_mean_over_records_with_both_pairs(models):
  objective = objective_config.ObjectiveConfig(method='product')
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(1, 'no difference'),
    tiny_pairs.record(2, '', 'no difference'),
  )
  value, _ = pair_loss.loss(
    models[1],
    models[1],
    tiny_pairs.PREPARE(batch, tiny_pairs.KEY),
    objective=objective,
    reply=tiny.LENGTHS.reply,
  )
  np.testing.assert_allclose(value, np.log(2), rtol=1e-5)


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'method': 'dpo'}, "method must be 'pair_dpo', .* got 'dpo'"),
    ({'smoothing': 0.1}, 'smoothing is 0.1 with method pair_dpo'),
    ({'method': 'robust'}, 'smoothing is 0.0 with method robust'),
    ({'method': 'sft', 'gen_sft_weight': 1.0}, 'method sft wants'),
    ({'method': 'product', 'und_weight': 2.0}, 'method product wants'),
  ],
)
def test_settings_that_a_method_would_pass_over_are_refused(changes, said):
  with pytest.raises(ValueError, match=said):
    objective_config.ObjectiveConfig(**changes)


def test_without_any_pair_there_is_nothing_to_learn(models):
  dropped = tiny_pairs.record(0, 'no difference', 'no difference')
  (value, _), grads = loss_and_gradient()(
    *models, tiny_pairs.batch_of(dropped, dropped, dropped), tiny_pairs.KEY
  )
  assert value == 0
  assert not any(g.any() for g in jax.tree.leaves(grads))


NAMED = tuple(
  each | {'id': f'r{n}', 'caption_lose': 'green star' + ' one' * (n % 3)}
  for n, each in enumerate(tiny_pairs.RECORDS)
)


def close(found, wanted, atol=2e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4),
    found,
    wanted,
  )


def test_packed_pairs_cost_what_rows_of_their_own_do(models):
  run = loss_and_gradient()
  found = run(*models, tiny_pairs.batch_of(*tiny_pairs.RECORDS), tiny_pairs.KEY)
  wanted = run(
    *models,
    tiny_pairs.batch_of(*tiny_pairs.RECORDS, separate_drops=True),
    tiny_pairs.KEY,
  )
  close(found, wanted, 1e-4)


@functools.cache
def stepped(shape=(1, 1), accumulate=1, remat='none'):
  """(state, metrics) after a step from the same state on the same batch."""
  mesh = tiny.mesh(*shape)
  # With Adam's own epsilon a gradient that is only rounding is a whole step.
  optim = adamw.AdamWConfig(
    lr=1e-2, steps=10, warmup=0.0, eps=1e-2, accumulate=accumulate
  )
  policy, reference = (
    tiny.show_o(jax.random.key(n), remat=remat) for n in (0, 1)
  )
  state = train_step.start_state(policy, optim, mesh)
  reference = jax.device_put(reference, sharding.shardings(reference, mesh))
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  batch = sharding.put_batch(tiny_pairs.batch_of(*tiny_pairs.RECORDS), mesh)
  state, metrics = jax.device_get(step(state, reference, batch))
  # What a model is called by how it is computed is of no interest.
  return jax.tree.leaves(state.model), metrics


@pytest.mark.parametrize(
  'changes',
  [
    {'shape': (8, 1)},
    {'shape': (4, 2)},
    {'shape': (2, 4)},
    {'shape': (1, 8)},
    {'accumulate': 2},
    {'accumulate': 8},
    {'accumulate': 2, 'shape': (4, 2)},
    {'remat': 'full'},
    {'remat': 'dots'},
  ],
)
def test_meshes_parts_and_remat_are_one_step(changes):
  found, metrics = stepped(**changes)
  wanted, wanted_metrics = stepped()
  close(found, wanted, 1e-5)
  close(metrics, wanted_metrics, 1e-4)


def test_a_step_never_has_the_logits_of_all_tokens_in_memory():
  """By what the compiler sets aside for the whole of it."""
  vocab = dataclasses.replace(tiny.vocab(), codebook_size=8192)
  sizes = dataclasses.replace(tiny.sizes(remat='full'), vocab=vocab)
  make = record_rows.make_transform(vocab, tiny.text(), tiny.LENGTHS, 0.0)
  batch = batching.stack(
    [make(each, np.random.default_rng(0)) for each in tiny_pairs.RECORDS]
  )
  hidden = jnp.ones(
    (len(tiny_pairs.RECORDS), tiny_pairs.OBJECTIVE.masks, tiny.IMAGE_TOKENS),
    bool,
  )
  tokens, *_ = packing.pack_batch(vocab, batch['packed'], hidden)
  model = jax.eval_shape(
    lambda key: showo.ShowO(sizes, rngs=nnx.Rngs(key)), tiny_pairs.KEY
  )
  mesh, optim = tiny.mesh(1, 1), adamw.AdamWConfig(lr=1e-2, steps=10)
  state = jax.eval_shape(
    functools.partial(train_step.start_state, optim=optim, mesh=mesh), model
  )

  def temporary(rows):
    loss = functools.partial(tiny_pairs.LOSS, rows=rows)
    step = train_step.make_step(
      loss, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
    )
    program, arguments = step.parts(state, model)
    compiled = program.lower(*arguments, batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  labels = 2 * tiny_pairs.OBJECTIVE.masks * (tiny.IMAGE_TOKENS + 2)
  labels += 2 * tiny.LENGTHS.reply
  word = len(tiny_pairs.RECORDS) * vocab.size * 4
  # In one chunk those of all labels are there, which are half of the tokens.
  assert temporary(labels) > labels * word > tokens.shape[1] * word / 2
  assert temporary(2) < tokens.shape[1] * word / 3


def test_parts_of_a_batch_want_a_loss_that_adds_up():
  optim = adamw.AdamWConfig(lr=1e-2, steps=10, accumulate=2)
  with pytest.raises(ValueError, match='accumulate is 2'):
    train_step.make_step(
      tiny_pairs.LOSS, optim, tiny_pairs.KEY, tiny.mesh(1, 1)
    )
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, tiny.mesh(1, 1), tiny_pairs.PREPARE
  )
  policy = tiny.show_o(jax.random.key(0))
  state = train_step.start_state(policy, optim, tiny.mesh(1, 1))
  with pytest.raises(ValueError, match='batch 3 does not split into 2'):
    step(state, policy, tiny_pairs.batch_of(*tiny_pairs.RECORDS[:3]))
  # Each part has rows for every device.
  mesh = tiny.mesh(8, 1)
  step = train_step.make_step(
    tiny_pairs.LOSS, optim, tiny_pairs.KEY, mesh, tiny_pairs.PREPARE
  )
  batch = sharding.put_batch(tiny_pairs.batch_of(*tiny_pairs.RECORDS), mesh)
  with pytest.raises(ValueError, match='8 does not split into 2 parts over da'):
    step(train_step.start_state(policy, optim, mesh), policy, batch)


def make_of(drop):
  fit = record_rows.packed_lengths_of(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, NAMED
  )
  return record_rows.make_transform(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, drop, fit=fit
  )


def referenced(model, fixed, shape=(1, 1)):
  rng = np.random.default_rng(0)
  return reference_scores.score_reference(
    model,
    NAMED,
    lambda r, dropped: make_of(float(dropped))(r, rng),
    objective=dataclasses.replace(tiny_pairs.OBJECTIVE, fixed_masks=fixed),
    schedule=mask_schedules.cosine,
    image_tokens=tiny.IMAGE_TOKENS,
    seed=3,
    chunk=8,
    rows=9,
    mesh=tiny.mesh(*shape),
  )


@pytest.mark.parametrize('fixed', [False, True])
@pytest.mark.parametrize('drop', [0.0, 1.0])
def test_what_is_scored_before_costs_the_same(models, fixed, drop):
  policy, reference = models
  rows = referenced(reference, fixed)
  make, rng = make_of(drop), np.random.default_rng(0)
  batch = tiny_pairs.PREPARE(
    batching.stack([make(r, rng) for r in rows]), tiny_pairs.KEY
  )
  inline = {k: v for k, v in batch.items() if not k.startswith('reference')}
  assert ('reference_t2i' in batch) == fixed
  found = tiny_pairs.LOSS(policy, None if fixed else reference, batch)
  close(found, tiny_pairs.LOSS(policy, reference, inline), 1e-4)


def test_fixed_masks_are_of_the_record_alone(models):
  rows = referenced(models[1], True)
  hidden = np.stack([r['hidden'] for r in rows])
  assert hidden.shape == (8, tiny_pairs.OBJECTIVE.masks, tiny.IMAGE_TOKENS)
  assert len({h.tobytes() for h in hidden}) > 1
  other = referenced(models[0], True, (4, 2))
  np.testing.assert_array_equal([r['hidden'] for r in other], hidden)
  assert not np.allclose(other[0]['reference_t2i'], rows[0]['reference_t2i'])


def test_rows_are_no_longer_than_the_texts_want():
  short = make_of(0.0)(NAMED[0], np.random.default_rng(0))['packed']
  whole = tiny_pairs.rows_of(NAMED[0])['packed']
  # <|t2i|> bos, three words, eos; five words and eos, or what is allowed.
  assert short.caption.tokens.shape == (6,) and short.skipped == 3
  assert short.replies.shape == (2, 5)
  assert whole.caption.tokens.shape == (tiny.LENGTHS.max_text + 1,)


def phi_rows(**compat):
  """The text of the question and of both replies of a row, as Phi's tokens."""
  text = text_tokenizer.load(
    str(pathlib.Path(__file__).parents[1] / 'phi_tokenizer')
  )
  vocab = vocabulary.Vocab(text.size, 8192, text.eos)
  lengths = token_rows.Lengths(max_text=16, mmu=64, prompt=48, lm=16, reply=16)
  row = tiny_pairs.record() | {
    'caption': 'a dog',
    'caption_win': 'A dog in a park.',
    'caption_lose': 'cats',
  }
  compat = official_defects.OfficialDefects(**compat)
  make = record_rows.make_transform(
    vocab,
    text,
    lengths,
    0.0,
    compat,
    record_rows.packed_lengths_of(vocab, text, lengths, [row], compat),
    caption_prompt='What is this?',
  )
  packed = make(row, np.random.default_rng(0))['packed']
  image = packed.image.tokens[3 + tiny.IMAGE_TOKENS :].tolist()
  replies = [r[v].tolist() for r, v in zip(packed.replies, packed.replied)]
  return text, image, replies


def test_replies_are_learned_as_the_model_writes_them():
  text, question, replies = phi_rows()
  expected = 'USER: \nWhat is this? ASSISTANT:'
  assert question == [text.eos, *text.encode([expected])[0]]
  for reply, tokens in zip(['A dog in a park.', 'cats'], replies):
    (row,) = text.encode([f'{expected} {reply}'])
    assert question[1:] + tokens == [*row, text.eos]


def test_the_official_training_row_has_two_spaces_before_the_caption():
  text, question, replies = phi_rows(other_prompt=True)
  expected = 'USER: Give a detailed caption for this image. ASSISTANT:'
  for reply, tokens in zip(['A dog in a park.', 'cats'], replies):
    (row,) = text.encode([f'{expected}  {reply}'])
    assert question + tokens == [*row, text.eos]
