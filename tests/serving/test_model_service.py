"""Batches on a small model: replies and drawings depend on no other request."""

import jax
import numpy as np
import pytest
import small_unified
import tiny

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import likelihoods
from hermesflow_jax.sampling import search_scores
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.serving import chat_replies
from hermesflow_jax.serving import image_forms
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import question_groups
from hermesflow_jax.serving import searched_images
from hermesflow_jax.serving import served_images
from hermesflow_jax.serving import service_requests
from hermesflow_jax.serving import warm_up

WARM = batched.Decoding(1.5, 10)
PROMPT = 'what color is the shape ?'
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


@pytest.fixture(scope='module')
def service():
  # A single size: all batches share their programs.
  unified = small_unified.unified_on(tiny.show_o(jax.random.key(5)), chunk=4)
  return model_service.ModelService(unified, 8, small_unified.SAMPLER, (4,))


def asked(image, prompt=PROMPT, decoding=batched.GREEDY, **fields):
  return service_requests.ReplyRequest(
    served_images.ServedImage(str(image), PIXELS[image]),
    prompt,
    decoding,
    **fields,
  )


def sampled(image, **fields):
  return asked(image, decoding=WARM, **fields)


def texts(service, requests):
  return [
    service.unified.text.decode_reply(tokens)
    for tokens in service.reply(requests)
  ]


def test_greedy_replies_are_those_of_the_answerer(service):
  prompts = [PROMPT, 'is the shape red ?', PROMPT]
  codes = service.unified.encode(PIXELS[:3])
  expected = service.unified.answerer.reply(codes, [[p] for p in prompts])
  requests = [asked(n, prompt) for n, prompt in enumerate(prompts)]
  assert texts(service, requests) == [reply for (reply,) in expected]


def test_a_reply_depends_on_its_seed_and_on_no_other_request(service):
  alone = texts(service, [sampled(0, seed=3)])
  # Requests of other temperatures, and greedy ones, are in the same batch.
  cold = batched.Decoding(0.7, WARM.top_k)
  others = [asked(1), sampled(0, seed=3), asked(2, 'red ?', cold, seed=9)]
  assert texts(service, others)[1:2] == alone
  assert texts(service, others)[:1] == texts(service, [asked(1)])
  # Questions about an image share its row.
  shared = [asked(0, 'red ?', cold), sampled(0, seed=3), asked(0, seed=4)]
  assert texts(service, shared)[1:2] == alone
  numbers = [sampled(0, seed=3, number=n) for n in range(4)]
  assert len(set(texts(service, numbers))) > 1


def test_a_stream_gets_the_beginnings_of_its_reply(service):
  parts = []
  requests = [sampled(0), sampled(1, listener=parts.append)]
  _, reply = service.reply(requests)
  assert len(parts) > 1
  for part in parts:
    np.testing.assert_array_equal(part, reply[: len(part)])
  np.testing.assert_array_equal(parts[-1], reply)


def test_a_limit_cuts_a_reply_alone(service):
  long, short = service.reply([sampled(0), sampled(1, most_tokens=2)])
  (expected,) = service.reply([sampled(1)])
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
  request = service_requests.ScoreRequest(
    served_images.ServedImage('0', PIXELS[0]), unified.caption_prompt, tokens
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
  one = service_requests.DrawRequest('red circle', 3)
  (alone,) = service.draw([one], service.sampler)
  others = [
    service_requests.DrawRequest('two blue square', 3),
    service_requests.DrawRequest('red circle', 4),
    one,
  ]
  np.testing.assert_array_equal(service.draw(others, service.sampler)[2], alone)


@pytest.mark.parametrize('wave', [0, 4])
def test_best_of_sends_the_best_drawings_in_order(service, monkeypatch, wave):
  draws = [service_requests.DrawRequest('red circle', 5, n) for n in range(4)]
  expected = service.draw(draws, service.sampler)

  def score(unified, name, codes, captions, questions=None):
    assert name == 'likelihood' and captions == ['red circle'] * 4
    return np.arange(4)

  monkeypatch.setattr(search_scores, 'score', score)
  request = searched_images.SearchRequest('red circle', 2, 4, 5)
  searching = model_service.ModelService(
    service.unified, 8, service.sampler, (4,), search_settings.Search(wave=wave)
  )
  (best,) = searching.run(('search', 'draw', 2, 4), [request])
  np.testing.assert_array_equal(best, [expected[3], expected[2]])


def test_without_best_of_the_server_sets_the_number_of_candidates():
  assert image_forms.read({'prompt': 'a'}, 64).best_of == 1
  assert image_forms.read({'prompt': 'a', 'n': 2}, 64, 8).best_of == 16
  body = {'prompt': 'a', 'best_of': 3}
  assert image_forms.read(body, 64, 8).best_of == 3


def test_known_codes_of_an_edit_stay(service):
  known = np.array([True, False, True, True])
  edit = service_requests.DrawRequest('red circle', 3, 0, PIXELS[0], known)
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


def test_an_image_is_encoded_once(service, monkeypatch):
  memory, counts = served_images.ImageMemory(), []
  unified = service.unified
  encode = type(unified).encode

  def count(self, pixels):
    counts.append(len(pixels))
    return encode(self, pixels)

  monkeypatch.setattr(type(unified), 'encode', count)
  first = memory.add(served_images.ServedImage('a', PIXELS[0]))
  again = memory.add(served_images.ServedImage('a', PIXELS[0]))
  other = memory.add(served_images.ServedImage('b', PIXELS[1]))
  assert again is first and memory.find('a') is first and not memory.find('c')
  sizes = (1, 4)
  codes = served_images.read_images(unified, [first, again], sizes)
  all_codes = served_images.read_images(unified, [other, again], sizes)
  assert counts == [1, 1] and first.pixels is None
  np.testing.assert_array_equal(codes[0], codes[1])
  np.testing.assert_array_equal(all_codes[1], codes[0])
  monkeypatch.undo()
  np.testing.assert_array_equal(all_codes, unified.encode(PIXELS[1::-1]))


def test_few_images_are_remembered():
  memory = served_images.ImageMemory()
  for number in range(300):
    memory.add(served_images.ServedImage(str(number), PIXELS[0]))
    assert memory.find('0')
  assert not memory.find('1') and memory.find('299')


def test_sizes_of_batches_are_usable_when_their_programs_are_compiled(
  monkeypatch,
):
  class Service:
    sizes = compiled = (2, 4, 8)
    unified, size, sampler, ran = None, 8, small_unified.SAMPLER, []

    def sample(self, requests, groups):
      self.ran.append((groups.shape, requests[0].decoding.top_k))

    def draw(self, requests, sampler):
      self.ran.append(len(requests))

  service, seen = Service(), []
  for number, count, _ in warm_up.compile_programs(service, 5):
    seen.append((number, service.compiled))
  assert service.ran == [
    *[((2, 1), 1), 2, ((2, 1), 5)],
    *[((4, 1), 1), 4, ((4, 1), 5)],
    *[((8, 1), 1), 8, ((8, 1), 5), ((2, 4), 1), ((2, 4), 5)],
  ]
  assert [n for n, _ in seen] == list(range(1, count + 1))
  assert [sizes for _, sizes in seen] == [
    *[(), (), (2,), (2,), (2,), (2, 4)],
    *[(2, 4)] * 4,
    (2, 4, 8),
  ]
