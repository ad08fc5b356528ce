"""Choices mean what the model says, on a small Show-o with Phi's tokenizer.

The model is trained here on rows in LLaVA's form until its free replies are
right. It has the whole vocabulary of Show-o; tokens that no row has are not
trained.
"""

import dataclasses
import functools
import pathlib

from flax import nnx
import jax
import numpy as np
import optax
import pytest
import tiny

from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import log_likelihood

QUESTION = 'what does the picture show?'
# Some begin alike, some are the beginning of another, some are long.
REPLIES = (
  'red',
  'red and white',
  'dark blue',
  'dark blue stripes on a wall',
  'a green bench',
  'a green bench under an old tree',
  '2',
  '2 dogs',
  'nothing',
  'on the left of the tree',
  'on the right of the tree',
  'nobody-knows',
)
CODES = 16
# Image codes are below this.
USED_CODES = 512
LENGTHS = token_rows.Lengths(max_text=16, mmu=48, prompt=48, lm=16, reply=9)
BATCH, STEPS = 16, 150


@pytest.fixture(scope='module')
def text():
  """The tokenizer, in Phi-1.5's form."""
  return text_tokenizer.load(
    str(pathlib.Path(__file__).parents[1] / 'phi_tokenizer')
  )


def images(rng, count, noise=0.0):
  """Codes int32[count, CODES] and which reply each means, int[count].

  Each code says what the picture shows, or with probability `noise` something
  else.
  """
  kinds = rng.integers(0, len(REPLIES), count)
  output = np.repeat(kinds[:, None], CODES, axis=1)
  other = rng.integers(0, len(REPLIES), output.shape)
  output = np.where(rng.random(output.shape) < noise, other, output)
  return (output * 37 + rng.integers(0, 3, output.shape)).astype(
    np.int32
  ), kinds


def model_of(vocab, dtype='float32'):
  """A random Show-o of width 32."""
  decoder = phi.PhiConfig(width=32, layers=2, heads=2, mlp=64, dtype=dtype)
  config = showo.ShowOConfig(vocab, decoder, CODES)
  return jax.jit(lambda key: showo.ShowO(config, rngs=nnx.Rngs(key)))(
    jax.random.key(0)
  )


def show_o_vocab(text):
  """Show-o's vocabulary."""
  return vocabulary.Vocab(text.size, 8192, text.eos)


def turns(text):
  """(ids of the prompt, ids of each reply)."""
  (prompt,) = text.encode([text_tokenizer.user_turn(QUESTION)])
  return prompt, text.encode_replies(REPLIES)


def trained(model, prompt, replies, noise=0.0, stages=(STEPS,)):
  """Yields the model after some numbers of steps."""
  vocab = model.config.vocab
  optimizer = optax.adam(optax.cosine_decay_schedule(6e-3, max(stages)))
  rng = np.random.default_rng(0)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(model, state, rows):
    def loss(model):
      return log_likelihood.mean_nll(
        *log_likelihood.text_logps(model, rows, LENGTHS.reply)
      )

    updates, state = optimizer.update(jax.grad(loss)(model), state, model)
    return optax.apply_updates(model, updates), state

  state = jax.jit(optimizer.init)(model)
  for number in range(1, max(stages) + 1):
    codes, kinds = images(rng, BATCH, noise)
    rows = image_to_text.mmu_rows(
      vocab, codes, [prompt] * BATCH, [replies[k] for k in kinds], LENGTHS.mmu
    )
    model, state = step(model, state, rows)
    if number in stages:
      yield nnx.clone(model)


def trained_on_used_tokens(text):
  """The model after training only with tokens that rows have.

  The other tokens keep their random embeddings, and a low bias in the head, as
  training gives them.
  """
  vocab = show_o_vocab(text)
  prompt, replies = turns(text)
  words = sorted({text.eos}.union(prompt, *replies))
  number = {word: n for n, word in enumerate(words)}
  used = vocabulary.Vocab(len(words), USED_CODES, number[text.eos])
  (small,) = trained(
    model_of(used),
    [number[word] for word in prompt],
    [[number[word] for word in reply] for reply in replies],
  )
  # The special tokens and the codes follow the words.
  ids = np.r_[words, vocab.pad : vocab.image_offset + USED_CODES, vocab.mask]
  model = model_of(vocab)
  bias = np.full(vocab.size, -10.0, np.float32)
  bias[ids] = small.head.bias[...]
  kernel, table = (
    np.array(a[...]) for a in (model.head.kernel, model.embed.embedding)
  )
  kernel[:, ids] = small.head.kernel[...]
  table[ids] = small.embed.embedding[...]
  model.decoder = small.decoder
  model.head.bias[...], model.head.kernel[...] = bias, kernel
  model.embed.embedding[...] = table
  return model


def unified_of(model, text, **changes):
  """The model at work; it needs no image tokenizer to answer."""
  return unified_model.UnifiedModel(
    model=model,
    tokenizer=None,
    text=text,
    lengths=LENGTHS,
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
    others = rng.permutation(np.delete(np.arange(len(REPLIES)), kind))
    order = rng.permutation([kind, *others[: count - 1]])
    rows.append(
      [
        {
          'question': QUESTION,
          'choices': [REPLIES[n] for n in order],
          'answer': REPLIES[kind],
        }
      ]
    )
  return rows


def free_replies(unified, codes):
  """What the model writes about each image, greedily."""
  replies = unified.reply(
    [str(n) for n in range(len(codes))], codes, [QUESTION], [batched.GREEDY], 0
  )
  return [reply for ((reply,),) in replies]


@pytest.fixture(scope='module')
def model(text):
  """A model all of whose free replies are right."""
  return trained_on_used_tokens(text)


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
    codes, kinds = images(np.random.default_rng(2), 32)
    assert set(kinds) == set(range(len(REPLIES)))
    unified = unified_of(typed, text)
    assert free_replies(unified, codes) == [REPLIES[kind] for kind in kinds]
    return unified, codes, kinds

  return unified


@pytest.mark.parametrize(
  'dtype, rule, count',
  [
    ('float32', 'constrained', 2),
    ('float32', 'constrained', len(REPLIES)),
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
  assert [item for (item,) in answers] == [REPLIES[kind] for kind in kinds]


def test_free_answers_of_a_model_that_replies_right_are_right(replying):
  unified, codes, kinds = replying('float32')
  freely = question_answering.AnswerConfig(free=True, free_prompt='{question}')
  answers = dataclasses.replace(unified, answering=freely).answer(
    codes, questions_of(np.random.default_rng(3), kinds)
  )
  assert [item for (item,) in answers] == [REPLIES[kind] for kind in kinds]


def test_an_answer_does_not_depend_on_what_is_beside_it(model, text):
  """Not on the lengths of other choices, nor on other images."""
  rng = np.random.default_rng(2)
  codes, kinds = images(rng, 24, noise=0.6)
  questions = questions_of(rng, kinds, 5)
  unified = unified_of(model, text)
  together = unified.answer(codes, questions)
  for n in range(len(codes)):
    assert unified.answer(codes[n : n + 1], questions[n : n + 1]) == [
      together[n]
    ]


@pytest.mark.parametrize('rule', ['constrained'])
def test_a_random_model_is_at_chance(text, rule):
  """A short choice and a long one are chosen equally often, over models."""
  questions = [
    {'question': QUESTION, 'choices': list(pair), 'answer': pair[0]}
    for pair in [
      ('red', 'an unusually long description of it'),
      ('2', 'on the left of the tree'),
      ('no', 'dark blue stripes'),
      ('green', 'something that nobody saw'),
    ]
  ]
  codes, _ = images(np.random.default_rng(3), 1)
  short, models = 0, 40
  unified = unified_of(model_of(show_o_vocab(text)), text)

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
  codes, kinds = images(rng, 768, noise=0.75)
  questions = questions_of(rng, kinds)
  print('\nsteps  free right  comparable  ' + '  '.join(choice_rules.RULES))
  models = trained(model_of(show_o_vocab(text)), *turns(text), 0.75, stages)
  for number, model in zip(stages, models):
    unified = unified_of(model, text)
    replies = free_replies(unified, codes)
    right = np.mean([r == REPLIES[k] for r, k in zip(replies, kinds)])
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
