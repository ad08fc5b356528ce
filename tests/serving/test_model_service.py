"""Batches on a small model: replies and drawings depend on no other request."""

import jax
import numpy as np
import pytest
import small_unified
import tiny

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import likelihoods
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.serving import chat_replies
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import question_groups

WARM = batched.Decoding(1.5, 10)
PROMPT = 'what color is the shape ?'
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


@pytest.fixture(scope='module')
def service():
  # A single size: all batches share their programs.
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(5)), chunk=4)
  return model_service.ModelService(unified, 8, small_unified.SAMPLER, (4,))


def asked(image, prompt=PROMPT, **fields):
  return model_service.ReplyRequest(str(image), PIXELS[image], prompt, **fields)


def texts(service, requests, decoding=batched.GREEDY):
  return [
    service.unified.text.decode_reply(tokens)
    for tokens in service.reply(requests, decoding)
  ]


def test_greedy_replies_are_those_of_the_answerer(service):
  prompts = [PROMPT, 'is the shape red ?', PROMPT]
  codes = service.unified.encode(PIXELS[:3])
  expected = service.unified.answerer.reply(codes, [[p] for p in prompts])
  requests = [asked(n, prompt) for n, prompt in enumerate(prompts)]
  assert texts(service, requests) == [reply for (reply,) in expected]


def test_a_reply_depends_on_its_seed_and_on_no_other_request(service):
  alone = texts(service, [asked(0, seed=3)], WARM)
  others = [asked(1), asked(0, seed=3), asked(2, 'red ?', seed=9)]
  assert texts(service, others, WARM)[1:2] == alone
  # Questions about an image share its row.
  shared = [asked(0, 'red ?'), asked(0, seed=3), asked(0, seed=4)]
  assert texts(service, shared, WARM)[1:2] == alone
  numbers = [asked(0, seed=3, number=n) for n in range(4)]
  assert len(set(texts(service, numbers, WARM))) > 1


def test_a_stream_gets_the_beginnings_of_its_reply(service):
  parts = []
  requests = [asked(0), asked(1, listener=parts.append)]
  _, reply = service.reply(requests, WARM)
  assert len(parts) > 1
  for part in parts:
    np.testing.assert_array_equal(part, reply[: len(part)])
  np.testing.assert_array_equal(parts[-1], reply)


def test_a_limit_cuts_a_reply_alone(service):
  long, short = service.reply([asked(0), asked(1, most_tokens=2)], WARM)
  (expected,) = service.reply([asked(1)], WARM)
  np.testing.assert_array_equal(short, expected[:2])
  assert len(long) > 2


def test_scores_of_tokens_are_those_of_a_whole_row(service):
  unified, caption = service.unified, 'red circle'
  (ids,), (prompt,) = (
    unified.text.encode_replies([caption]),
    unified.text.encode([unified.reader.user_turn(unified.caption_prompt)]),
  )
  tokens, codes = (
    np.array([*ids, unified.vocab.eos]),
    unified.encode(PIXELS[:1]),
  )
  request = model_service.ScoreRequest(
    PIXELS[0], unified.caption_prompt, tokens
  )
  (scores,) = service.score([request])
  rows = image_to_text.mmu_rows(
    unified.vocab, codes, [prompt], [ids], unified.lengths.mmu
  )

  @jax.jit
  def row_logps(model, tokens, mask):
    hidden, _ = model(tokens, mask, np.arange(tokens.size))
    logits = model.logits(hidden)
    text = logits[:, : unified.vocab.text_size]
    return jax.nn.log_softmax(logits), jax.nn.log_softmax(text)

  mask = attention_mask.mask_matrix(rows.ar[0], rows.valid[0])
  every, text = row_logps(unified.model, rows.tokens[0], mask)
  (places,) = np.nonzero(rows.labels[0] != token_rows.UNSCORED)
  # Logits before a token predict it.
  text = np.asarray(text)[places - 1]
  np.testing.assert_allclose(
    scores.own, text[np.arange(len(tokens)), tokens], atol=1e-5
  )
  np.testing.assert_allclose(
    scores.likely_logps, -np.sort(-text)[:, : scores.likely.shape[1]], atol=1e-5
  )
  # The likelihood of a caption is over all ids, not over text ids.
  (mean,) = likelihoods.caption_logps(unified, codes, [caption])
  np.testing.assert_allclose(
    mean, np.asarray(every)[places - 1, tokens].mean(), atol=1e-5
  )


def test_a_drawing_depends_on_no_other_request(service):
  one = model_service.DrawRequest('red circle', 3)
  (alone,) = service.draw([one], service.sampler)
  others = [
    model_service.DrawRequest('two blue square', 3),
    model_service.DrawRequest('red circle', 4),
    one,
  ]
  np.testing.assert_array_equal(service.draw(others, service.sampler)[2], alone)


def test_known_codes_of_an_edit_stay(service):
  known = np.array([True, False, True, True])
  edit = model_service.DrawRequest('red circle', 3, 0, PIXELS[0], known)
  drawn = []
  decode = service.unified.decode

  class Watched:
    def __getattr__(self, name):
      return getattr(service.unified, name)

    def decode(self, codes):
      drawn.append(codes)
      return decode(codes)

  watched = model_service.ModelService(Watched(), 8, service.sampler, (4,))
  watched.draw([edit], service.sampler)
  (before,) = service.unified.encode(PIXELS[:1])
  np.testing.assert_array_equal(drawn[0][0][known], before[known])


def test_groups_hold_every_question_and_have_compiled_shapes():
  sizes = (1, 4, 8, 32)
  for count in (1, 3, 9, 32):
    for images in (1, 2, count):
      names = [n % images for n in range(count)]
      groups = question_groups.grouped(names, 256, 48, sizes)
      assert set(groups.reshape(-1)) == set(range(count))
      assert groups.shape[0] in sizes
      assert groups.shape[1] in question_groups.SIZES
      for group in groups:
        assert len({names[n] for n in group}) == 1


def test_a_stop_text_ends_a_reply_with_its_tokens():
  text = tiny.text()
  (ids,) = text.encode(['red circle blue'])
  tokens = np.array([*ids, text.eos])
  plain = chat_replies.to_reply(text, tokens)
  assert (plain.text, len(plain.tokens)) == ('red circle blue', 4)
  cut = chat_replies.to_reply(text, tokens, ['blue', 'circle'])
  assert (cut.text, len(cut.tokens), cut.complete) == ('red ', 2, True)
  open_ = chat_replies.to_reply(text, tokens[:2], ['blue'])
  assert (open_.text, open_.complete) == ('red circle', False)
