"""The answer term beside another loss: batches, parts, meshes, wrong answers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import learn_runs
import numpy as np
import pytest
import small_unified
import tiny
import tiny_clip
import tiny_pairs
import tiny_questions

from hermesflow_jax.data import lazy_images
from hermesflow_jax.library import pair_training
from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_losses
from hermesflow_jax.pair_dpo import answer_term
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import batch_parts
from hermesflow_jax.training import resume
from hermesflow_jax.training import train_step

QUESTIONS = tiny_questions.QUESTIONS * 4


@functools.cache
def unified_on(shape=(1, 1)):
  return small_unified.unified_on(tiny.show_o(jax.random.key(3)), shape)


@functools.cache
def inputs():
  return tiny_questions.inputs_of(QUESTIONS)


def learning_of(**changes):
  """Returns settings of a round with four records in a step."""
  config = learn_runs.configured('', 'pairs', batch=4, label_rows=64)
  answers = answer_config.AnswerConfig(weight=0.5, **changes)
  objective = dataclasses.replace(config.objective, answers=answers)
  kind = learning_config.LearningConfig
  values = {f.name: getattr(config, f.name) for f in dataclasses.fields(kind)}
  return kind(**values | {'objective': objective})


def term_of(shape=(1, 1), **changes):
  """Returns a term of 8 questions in a step."""
  unified = unified_on(shape)
  return answer_term.make_term(
    unified, unified.model, inputs(), learning_of(**changes), 1
  )


def record_batches(start):
  """Yields batches of another loss."""
  for step in range(start, start + 3):
    yield {'records': jnp.arange(4.0) + step}


def record_loss(model, constants, batch, key=None):
  return batch['records'].sum(), {'records/loss': batch['records'].sum()}


def record_prepare(batch, key):
  return {'records': batch['records'] / len(batch['records'])}


def test_questions_follow_their_own_order_and_resume_at_any_step():
  term = term_of()
  whole = list(term.add_to_batches(record_batches)(0))
  (first, *_) = term.add_to_batches(record_batches)(2)
  jax.tree.map(np.testing.assert_array_equal, whole[2], first)
  assert len(first['answers']['rows'].length) == 8
  # Twelve questions: a step and a half.
  prompts = [
    tuple(np.r_[image, text[0]].tolist())
    for batch in whole
    for image, text in zip(
      np.asarray(batch['answers']['rows'].image),
      np.asarray(batch['answers']['rows'].texts),
    )
  ]
  assert len(set(prompts[:12])) == len(set(prompts[12:])) == 12


@pytest.mark.parametrize('form', ['sft', 'grpo'])
def test_the_loss_adds_up_over_parts_and_meshes(form):
  """Beside another loss, which it does not change."""
  values = []
  for shape, parts in (((1, 1), 1), ((2, 1), 2)):
    term = term_of(shape, form=form)
    batch = next(iter(term.add_to_batches(record_batches)(0)))
    loss, prepare = term.add_to_functions(record_loss, record_prepare)
    batch = prepare(batch, None)
    part = functools.partial(loss, unified_on(shape).model, None)
    values.append(
      jax.jit(
        lambda batch, part=part, parts=parts, data=shape[0]: (
          batch_parts.sum_over_parts(part, batch, parts, data)
        )
      )(batch)
    )
  (total, metrics), other = values
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    (total, metrics),
    other,
  )
  assert metrics['records/loss'] == 1.5
  assert total == 1.5 + 0.5 * metrics['answers/loss']


def test_questions_that_fill_up_a_batch_count_nothing():
  """As beside groups, which a step computes in three parts or more."""
  term, results = term_of(), []
  batch = next(iter(term.add_to_batches(record_batches)(0)))
  for multiple, rows in ((1, 8), (3, 9)):
    loss, prepare = term.add_to_functions(record_loss, record_prepare, multiple)
    prepared = prepare(batch, None)
    assert len(prepared['answers']['share']) == rows
    results.append(jax.jit(loss)(unified_on().model, None, prepared))
  tiny_pairs.assert_close(*results)


def test_a_pair_has_the_right_answer_over_the_wrong_answer_that_is_set():
  likeliest, own = term_of(form='pairs'), term_of(form='pairs', wrong='own')
  any_wrong = term_of(form='pairs', wrong='random')
  logps, rng = likeliest.reference, np.random.default_rng(0)
  answers = unified_on().answer(inputs().codes, QUESTIONS)
  mistakes = {
    (place, number): answer
    for place, row in enumerate(answers)
    for number, answer in enumerate(row)
    if answer != QUESTIONS[place][number]['answer']
  }
  assert 0 < len(mistakes) < len(logps)
  assert {(q.place, q.number) for q in own.questions} == set(mistakes)
  for number, question in enumerate(own.questions):
    chosen = question.choices.index(mistakes[question.place, question.number])
    row = own.transform(number, rng)
    expected = own.reference[number, [0, chosen]]
    np.testing.assert_array_equal(row['reference'], expected)
  wrong = set()
  for number, question in enumerate(likeliest.questions):
    row = likeliest.transform(number, rng)
    assert row['reference'][0] == logps[number, 0]
    assert row['reference'][1] == logps[number, 1:].max()
    other = any_wrong.transform(number, rng)['reference'][1]
    place = int(np.flatnonzero(logps[number, 1:] == other)[0])
    assert place < len(question.answers) - 1
    wrong.add(place)
  assert wrong == {0, 1, 2}


def test_questions_are_chosen_by_confidence_whichever_answer_is_right():
  shares = unified_on().answerer.probabilities(inputs().codes, QUESTIONS)
  most = {
    (place, number): max(share.values())
    for place, row in enumerate(shares)
    for number, share in enumerate(row)
  }
  bound = float(np.median(list(most.values())))
  term = term_of(confidence=bound)
  chosen = {(q.place, q.number) for q in term.questions}
  assert chosen == {place for place, share in most.items() if share <= bound}
  assert 0 < len(chosen) < len(most)
  assert term_of(confidence=0.0) is None
  # The others of a step are drawn from all questions.
  mixed = term_of(confidence=bound, unsure_share=0.75)
  assert len(mixed.questions) == len(most)
  unsure, every = mixed.source.sources
  assert {
    (mixed.questions[n].place, mixed.questions[n].number) for n in unsure
  } == chosen
  assert len(every) == len(most) and mixed.source.weights == (0.75, 0.25)
  batch = next(iter(mixed.add_to_batches(record_batches)(0)))
  assert len(batch['answers']['rows'].length) == 8


def test_a_round_starts_from_its_frozen_model():
  """So margins are 0 before the first step, to the rounding of sums."""
  term = term_of(form='pairs', sft_weight=1.0)
  batch = next(iter(term.add_to_batches(record_batches)(0)))
  _, prepare = term.add_to_functions(record_loss, record_prepare)
  batch = prepare(batch, None)['answers']
  total, metrics = jax.jit(
    functools.partial(
      answer_losses.loss, config=term.config, chunk_size=term.chunk_size
    )
  )(unified_on().model, batch)
  np.testing.assert_allclose(metrics['answers/loss'], np.log(2), atol=1e-5)
  np.testing.assert_allclose(
    total, np.log(2) + metrics['answers/right_nll'], atol=1e-5
  )


def test_inputs_without_questions_are_refused():
  bare = dataclasses.replace(inputs(), questions=[[] for _ in inputs().ids])
  with pytest.raises(ValueError, match='weight must be 0 for inputs without'):
    answer_term.make_term(unified_on(), None, bare, learning_of(), 1)


def test_a_round_of_pairs_learns_from_answers_about_features(
  monkeypatch, tmp_path
):
  """The tower reads the images of the questions beside those of the pairs."""
  monkeypatch.setattr(train_step, 'make_step', lambda *args: args)
  runs = []

  def run_resumable(run):
    runs.append(run)
    return run.make_state()

  monkeypatch.setattr(resume, 'run_resumable', run_resumable)
  unified = tiny_clip.unified_on(tiny_clip.show_o(jax.random.key(5)))
  pixels = [
    functools.partial(np.full, (12, 12, 3), n, np.uint8)
    for n in range(len(inputs()))
  ]
  pictures = lazy_images.LazyImages(pixels)
  learning.learn_round(
    unified,
    unified.model,
    tiny_pairs.NAMED,
    learning_of(form='grpo'),
    1,
    tmp_path,
    1,
    terminal.silent(),
    images=pictures,
    inputs=dataclasses.replace(inputs(), pixels=pictures),
  )
  (run,) = runs
  batch = next(run.batches(0))
  assert batch['answers']['pixels'].shape == (8, 12, 12, 3)
  loss, _, key, _, prepare, _ = run.step
  total, metrics = jax.eval_shape(
    lambda batch: loss(unified.model, run.constants, prepare(batch, key), key),
    batch,
  )
  assert total.shape == metrics['answers/accuracy'].shape == ()
  # The useful work of a step has that of the answers.
  assert run.rates.tokens > 8 * 9
  assert 'questions' in run.identity


def test_jobs_without_questions_refuse_the_term():
  config = learn_runs.configured('', 'pairs')
  objective = dataclasses.replace(
    config.objective, answers=answer_config.AnswerConfig(weight=0.5)
  )
  with pytest.raises(ValueError, match='answers.weight must be 0 in learn'):
    dataclasses.replace(config, objective=objective)
  with pytest.raises(ValueError, match='answers.weight must be 0 in train'):
    pair_training.train(None, [], objective, config.optim)
