"""Answers chat completions: whole replies, or replies in parts."""

import asyncio
from collections.abc import Sequence

from starlette import concurrency
from starlette import requests as web
from starlette import responses

from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.serving import api_errors
from hermesflow_jax.serving import chat_forms
from hermesflow_jax.serving import chat_replies
from hermesflow_jax.serving import client_waiting
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import request_images
from hermesflow_jax.serving import request_queue
from hermesflow_jax.serving import served_images
from hermesflow_jax.serving import service_requests

# Characters of an address that are hashed between other requests.
_SHORT_ADDRESS = 2**16


async def answer(
  request: web.Request,
  chat: chat_forms.ChatRequest,
  service: model_service.ModelService,
  queue: request_queue.RequestQueue,
  limits: request_images.ImageLimits,
  model: str,
) -> responses.Response:
  """Answers a question about an image.

  Args:
    request: the client's request.
    chat: its checked content.
    service: the model.
    queue: runs the requests in batches.
    limits: what images may be.
    model: name of the model.

  Raises:
    ValueError: the question or the image has a fault.
  """
  text_tokenizer.check_prompt('messages', chat.prompt)
  service.unified.check_question({'question': chat.prompt})
  image = await _read_image(chat.image_url, service, limits)
  completion = chat_replies.Completion(
    model, service.prompt_tokens(chat.prompt)
  )
  parts = asyncio.Queue()
  listeners = [None] * chat.count
  if chat.streams and chat.top_logprobs is None:
    loop = asyncio.get_running_loop()
    listeners = [_listener(loop, parts, n) for n in range(chat.count)]
  questions = [
    service_requests.ReplyRequest(
      image,
      chat.prompt,
      chat.decoding,
      chat.most_tokens,
      chat.seed,
      n,
      listener,
    )
    for n, listener in enumerate(listeners)
  ]
  futures = queue.submit(('reply',), questions)
  text = service.unified.text
  if listeners[0]:
    events = _stream(chat, completion, text, futures, parts)
    return responses.StreamingResponse(events, media_type='text/event-stream')
  rows = await client_waiting.results(request, futures)
  replies = [chat_replies.to_reply(text, row, chat.stop) for row in rows]
  logprobs = None
  if chat.top_logprobs is not None:
    scored = [
      service_requests.ScoreRequest(image, chat.prompt, reply.tokens)
      for reply in replies
    ]
    scores = await client_waiting.results(
      request, queue.submit(('score',), scored)
    )
    logprobs = [
      chat_replies.token_logprobs(text, *pair, chat.top_logprobs)
      for pair in zip(replies, scores, strict=True)
    ]
  if not chat.streams:
    return responses.JSONResponse(completion.whole(replies, logprobs))
  return responses.StreamingResponse(
    _events(chat, completion, replies, logprobs), media_type='text/event-stream'
  )


async def _read_image(url, service, limits) -> served_images.ServedImage:
  """Returns the image at an address."""
  if len(url) <= _SHORT_ADDRESS:
    # A thread would take longer.
    known = service.images.find(request_images.content_name(url.encode()))
    if known:
      return known
  return await concurrency.run_in_threadpool(_decode, url, service, limits)


def _decode(url, service, limits) -> served_images.ServedImage:
  data = request_images.read(url, limits)
  # The content of a file may change, that of a data address cannot.
  content = url.encode() if url.startswith('data:') else data
  image = service.images.find(request_images.content_name(content))
  return image or service.images.add(
    served_images.ServedImage(
      request_images.content_name(content),
      request_images.to_pixels(data, service.size),
    )
  )


def _listener(loop, parts, number):
  """Returns a function that hands tokens from the worker to the client."""

  def listen(tokens):
    loop.call_soon_threadsafe(parts.put_nowait, (number, tokens))

  return listen


async def _stream(chat, completion, text, futures, parts):
  """Yields the events of replies while they are sampled."""
  finished = asyncio.gather(
    *map(asyncio.wrap_future, futures), return_exceptions=True
  )
  finished.add_done_callback(lambda _: parts.put_nowait(None))
  sent = [''] * chat.count
  try:
    for number in range(chat.count):
      yield completion.delta(number, None)
    while part := await parts.get():
      number, tokens = part
      words = chat_replies.to_reply(text, tokens, chat.stop).text
      # Half a character, and the beginning of a stop text, wait.
      words = chat_replies.certain_text(words, chat.stop)
      if len(words) > len(sent[number]):
        yield completion.delta(number, words[len(sent[number]) :])
        sent[number] = words
    rows = finished.result()
    if failed := [row for row in rows if isinstance(row, Exception)]:
      # The status has been sent; the error is an event.
      yield chat_replies.event(api_errors.event_content(failed[0]))
      return
    replies = [chat_replies.to_reply(text, row, chat.stop) for row in rows]
    for number, reply in enumerate(replies):
      if rest := reply.text[len(sent[number]) :]:
        yield completion.delta(number, rest)
      yield completion.end(number, reply)
    if chat.usage:
      yield completion.usage(replies)
    yield chat_replies.event('[DONE]')
  finally:
    finished.cancel()


async def _events(chat, completion, replies: Sequence, logprobs):
  """Yields the events of complete replies with log-probabilities."""
  for number, reply in enumerate(replies):
    yield completion.delta(number, None)
    yield completion.delta(number, reply.text, logprobs=logprobs[number])
    yield completion.end(number, reply)
  if chat.usage:
    yield completion.usage(replies)
  yield chat_replies.event('[DONE]')
