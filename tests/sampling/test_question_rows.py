"""Rows of questions are built batch by batch, with the sizes of all questions."""

import dataclasses

import jax
import memory_growth
import numpy as np
import small_unified
import tiny

from hermesflow_jax.sampling import mesh_sampler

CODES = 256


def test_a_batch_has_the_rows_of_all_questions(unified):
  # The second and third image have 1 and 2 questions.
  questions = small_unified.QUESTIONS[1:6]
  codes = np.arange(5 * tiny.IMAGE_TOKENS).reshape(5, -1) % 16
  counts = [len(records) for records in questions]
  rows = unified.answerer.build_rows(codes, sum(questions, []), counts)
  every = rows.batch(np.arange(len(rows.groups)))
  parts = [rows.batch(np.array([n])) for n in range(len(rows.groups))]
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
  jax.tree.map(np.testing.assert_array_equal, joined, every)
  images, prompts, lengths = every
  assert (images.tokens[:, 2:-1] - unified.vocab.image_offset).tolist() == (
    codes[rows.image_of[rows.groups[:, 0]]].tolist()
  )
  assert prompts.tokens.shape[:2] == lengths.shape == rows.groups.shape


def test_memory_holds_no_rows_of_all_questions(unified, monkeypatch):
  monkeypatch.setattr(
    mesh_sampler.MeshSampler,
    'score',
    lambda self, rule, batch: np.zeros(batch[3].valid.shape[:-1]),
  )
  answerer = dataclasses.replace(
    unified.answerer,
    lengths=dataclasses.replace(tiny.LENGTHS, prompt=CODES + 30),
  )
  codes = np.zeros((240, CODES), np.int32)

  def answer(count):
    questions = [small_unified.QUESTIONS[2]] * count
    return answerer.answer(codes[:count], questions)

  # Rows take 13 bytes a token. Two questions have 44 tokens of text, and
  # choices, scores and answers.
  memory_growth.check_below(13 * CODES, answer, 20, 240)


def test_memory_holds_no_rows_of_all_captions(unified, monkeypatch):
  monkeypatch.setattr(
    mesh_sampler.MeshSampler,
    'write',
    lambda self, samplers, size, batch: np.full(
      (*batch[0].shape[:-1], size), unified.vocab.eos
    ),
  )
  long = dataclasses.replace(
    unified, lengths=dataclasses.replace(tiny.LENGTHS, prompt=CODES + 30)
  )
  codes = np.zeros((240, CODES), np.int32)
  names = [str(n) for n in range(240)]

  def describe(count):
    samplers = small_unified.SAMPLERS[:1]
    return long.describe(names[:count], codes[:count], samplers, seed=0)

  memory_growth.check_below(13 * CODES / 3, describe, 20, 240)
