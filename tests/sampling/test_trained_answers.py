"""Choices mean what the model says, on a small Show-o with Phi's tokenizer.

The model is trained on rows in LLaVA's form until its free replies are
right. It has the whole vocabulary of Show-o; tokens that no row has are not
trained.
"""

import dataclasses
import functools

from flax import nnx
import jax
import numpy as np
import phi_tokens
import pytest
import replying_show_o
import tiny

from hermesflow_jax.models import showo
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import unified_model

pytestmark = pytest.mark.optimized


@pytest.fixture(scope='module')
def text():
  """The tokenizer, in Phi-1.5's form."""
  return phi_tokens.tokenizer()


def unified_of(model, text, **changes):
  """The model at work; it needs no image tokenizer to answer."""
  return unified_model.UnifiedModel(
    model=model,
    tokenizer=None,
    text=text,
    lengths=replying_show_o.LENGTHS,
    grid=(4, 4),
    mesh=tiny.mesh(1, 1),
    chunk=64,
    progress=lambda label: lambda x: x,
    **changes,
  )


def questions_of(rng, kinds, count=4):
  """A question about each image: its reply among others, in any order."""
  rows = []
  for kind in kinds:
    others = rng.permutation(
      np.delete(np.arange(len(replying_show_o.REPLIES)), kind)
    )
    order = rng.permutation([kind, *others[: count - 1]])
    rows.append(
      [
        {
          'question': replying_show_o.QUESTION,
          'choices': [replying_show_o.REPLIES[n] for n in order],
          'answer': replying_show_o.REPLIES[kind],
        }
      ]
    )
  return rows


def free_replies(unified, codes):
  """What the model writes about each image, greedily."""
  replies = unified.reply(
    [str(n) for n in range(len(codes))],
    codes,
    [replying_show_o.QUESTION],
    [batched.GREEDY],
    0,
  )
  return [reply for ((reply,),) in replies]


@pytest.fixture(scope='module')
def model(text):
  """A model all of whose free replies are right."""
  return replying_show_o.trained_on_used_tokens(text)


@pytest.fixture(scope='module')
def replying(model, text):
  """dtype -> unified model that replies right to codes, and codes, kinds."""

  @functools.cache
  def unified(dtype):
    decoder = dataclasses.replace(model.config.decoder, dtype=dtype)
    config = dataclasses.replace(model.config, decoder=decoder)
    typed = jax.tree.unflatten(
      jax.tree.structure(
        nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
      ),
      jax.tree.leaves(model),
    )
    codes, kinds = replying_show_o.images(np.random.default_rng(2), 32)
    assert set(kinds) == set(range(len(replying_show_o.REPLIES)))
    unified = unified_of(typed, text)
    assert free_replies(unified, codes) == [
      replying_show_o.REPLIES[kind] for kind in kinds
    ]
    return unified, codes, kinds

  return unified


@pytest.mark.parametrize(
  'dtype, rule, count',
  [
    ('float32', 'constrained', 2),
    ('float32', 'constrained', len(replying_show_o.REPLIES)),
    ('bfloat16', 'constrained', 6),
    ('float32', 'sum', 6),
    ('float32', 'mean', 6),
  ],
)
def test_a_model_that_replies_right_chooses_right(replying, dtype, rule, count):
  unified, codes, kinds = replying(dtype)
  answering = question_answering.AnswerConfig(rule=rule)
  answers = dataclasses.replace(unified, answering=answering).answer(
    codes, questions_of(np.random.default_rng(3), kinds, count)
  )
  assert [item for (item,) in answers] == [
    replying_show_o.REPLIES[kind] for kind in kinds
  ]


def test_free_answers_of_a_model_that_replies_right_are_right(replying):
  unified, codes, kinds = replying('float32')
  freely = question_answering.AnswerConfig(free=True, free_prompt='{question}')
  answers = dataclasses.replace(unified, answering=freely).answer(
    codes, questions_of(np.random.default_rng(3), kinds)
  )
  assert [item for (item,) in answers] == [
    replying_show_o.REPLIES[kind] for kind in kinds
  ]


def test_an_answer_does_not_depend_on_what_is_beside_it(model, text):
  """Not on the lengths of other choices, nor on other images."""
  rng = np.random.default_rng(2)
  codes, kinds = replying_show_o.images(rng, 24, noise=0.6)
  questions = questions_of(rng, kinds, 5)
  unified = unified_of(model, text)
  together = unified.answer(codes, questions)
  for n in range(0, len(codes), 3):
    assert unified.answer(codes[n : n + 1], questions[n : n + 1]) == [
      together[n]
    ]


@pytest.mark.parametrize('rule', ['constrained'])
def test_a_random_model_is_at_chance(text, rule):
  """A short choice and a long one are chosen equally often, over models."""
  questions = [
    {
      'question': replying_show_o.QUESTION,
      'choices': list(pair),
      'answer': pair[0],
    }
    for pair in [
      ('red', 'an unusually long description of it'),
      ('2', 'on the left of the tree'),
      ('no', 'dark blue stripes'),
      ('green', 'something that nobody saw'),
    ]
  ]
  codes, _ = replying_show_o.images(np.random.default_rng(3), 1)
  short, models = 0, 40
  unified = unified_of(
    replying_show_o.model_of(replying_show_o.show_o_vocab(text)), text
  )

  @jax.jit
  def other(model, order):
    """Another random model: all ids change places."""
    model.head.kernel[...] = model.head.kernel[:, order[0]]
    model.embed.embedding[...] = model.embed.embedding[order[1]]
    return model

  size = unified.model.config.vocab.size
  answering = question_answering.AnswerConfig(rule=rule)
  for seed in range(models):
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(size), rng.permutation(size)])
    model = other(nnx.clone(unified.model), order)
    (answers,) = dataclasses.replace(
      unified, model=model, answering=answering
    ).answer(codes, [questions])
    short += sum(a == q['answer'] for a, q in zip(answers, questions))
  count = models * len(questions)
  # Four standard errors of a share of one half.
  assert abs(short / count - 0.5) < 4 * 0.5 / np.sqrt(count)


@pytest.mark.slow
def test_which_rule_agrees_with_free_replies(text):
  """Prints the table of docs/answers.md."""
  stages = (60, 150, 300)
  rng = np.random.default_rng(4)
  codes, kinds = replying_show_o.images(rng, 768, noise=0.75)
  questions = questions_of(rng, kinds)
  print('\nsteps  free right  comparable  ' + '  '.join(choice_rules.RULES))
  models = replying_show_o.trained(
    replying_show_o.model_of(replying_show_o.show_o_vocab(text)),
    *replying_show_o.turns(text),
    0.75,
    stages,
  )
  for number, model in zip(stages, models):
    unified = unified_of(model, text)
    replies = free_replies(unified, codes)
    right = np.mean(
      [r == replying_show_o.REPLIES[k] for r, k in zip(replies, kinds)]
    )
    # Where the free reply is one of the choices, a rule should choose it.
    same = [r in q['choices'] for r, (q,) in zip(replies, questions)]
    cells, shares = [], {}
    for rule in choice_rules.RULES:
      answers = dataclasses.replace(
        unified, answering=question_answering.AnswerConfig(rule=rule)
      ).answer(codes, questions)
      agree = [a == r for (a,), r in zip(answers, replies)]
      shares[rule] = np.mean(np.array(agree)[same]) if any(same) else 0
      exact = np.mean(
        [a == q['answer'] for (a,), (q,) in zip(answers, questions)]
      )
      cells.append(f'{shares[rule]:.3f} ({exact:.3f})')
    print(f'{number:>5}  {right:10.3f}  {sum(same):>10}  ' + '  '.join(cells))
    if sum(same) > 200:
      assert shares['constrained'] >= max(shares.values()) - 0.03
