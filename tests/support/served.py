"""A server with a stub in place of a model, and requests for it."""

import base64
import io
import types

import numpy as np
from PIL import Image
from starlette import testclient
import tiny

import configs.serve
from hermesflow_jax.jobs import serve
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import row_parts
from hermesflow_jax.serving import app
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import request_images
from hermesflow_jax.serving import request_queue
from hermesflow_jax.serving import served_images

SIDE = 8


def configured(**changes) -> serve.Settings:
  """Returns settings of the job `serve` with some changes."""
  values = configs.serve.get_config().to_dict() | changes
  del values['job']
  return settings.build(serve.Settings, values)


def png(size=(SIDE, SIDE), color='red', mode='RGB') -> bytes:
  """Returns a PNG file of a single color."""
  file = io.BytesIO()
  Image.new(mode, size, color).save(file, 'PNG')
  return file.getvalue()


def url(data: bytes | None = None) -> str:
  """Returns an image as a data URL."""
  data = png() if data is None else data
  return f'data:image/png;base64,{base64.b64encode(data).decode()}'


def question(text='what color is the shape ?', image=None, **fields) -> dict:
  """Returns a request for a reply about an image."""
  content = [
    {'type': 'text', 'text': text},
    {'type': 'image_url', 'image_url': {'url': image or url()}},
  ]
  return {'messages': [{'role': 'user', 'content': content}]} | fields


def _unified():
  text, vocab = tiny.text(), tiny.vocab()

  def check(record):
    question_answering.check_question(
      text, tiny.LENGTHS, question_answering.AnswerConfig(), record, 4
    )

  return types.SimpleNamespace(
    text=text,
    vocab=vocab,
    lengths=tiny.LENGTHS,
    grid=tiny.GRID,
    caption_prompt='',
    reader=row_parts.CodeReader(vocab),
    check_question=check,
  )


class Stub:
  """A model service whose reply is 'red circle' and whose drawings are gray.

  Attributes:
    batches: batches that were run: (kind, requests).
    fault: is raised by the next batches, unless None.
    reply: words of the reply.
  """

  def __init__(self):
    self.unified, self.size, self.sampler = _unified(), SIDE, 'sampler'
    self.images = served_images.ImageMemory()
    self.batches, self.fault, self.reply = [], None, 'red circle'

  def prompt_tokens(self, prompt):
    return model_service.ModelService.prompt_tokens(self, prompt)

  def _image(self, number):
    return np.full((SIDE, SIDE, 3), 10 * number, np.uint8)

  def run(self, kind, requests):
    self.batches.append((kind, list(requests)))
    if self.fault:
      raise self.fault
    if kind[0] == 'search':
      # Later candidates are better.
      return [
        [self._image(r.candidates - 1 - n) for n in range(r.images)]
        for r in requests
      ]
    if kind[0] != 'reply':
      return [self._image(request.number) for request in requests]
    (ids,) = self.unified.text.encode([self.reply])
    tokens = np.array([*ids, self.unified.vocab.eos], np.int32)
    for request in requests:
      for count in range(1, len(tokens)):
        if request.listener:
          request.listener(tokens[:count])
    return [tokens[: request.most_tokens] for request in requests]


def server(service, *, key='', folder='', most_waiting=8) -> app.Server:
  """Returns a server of small limits."""
  limits = request_images.ImageLimits(2_000, 10_000, str(folder))
  app_settings = app.AppSettings('small', key, limits, 6_000, 0)
  queue = request_queue.RequestQueue(
    service.run, most_waiting, lambda: (1, 2, 3, 4)
  )
  return app.Server(service, queue, app_settings)


def client(server_of_test: app.Server, **headers) -> testclient.TestClient:
  """Returns a client within this process."""
  return testclient.TestClient(
    server_of_test.app(), 'http://localhost', headers=headers
  )


def error(response, status, message) -> dict:
  """Checks the form of an error; returns it."""
  content = response.json()['error']
  assert (response.status_code, list(content)) == (
    status,
    ['message', 'type', 'param', 'code'],
  )
  assert message in content['message'] and '\n' not in content['message']
  assert response.headers['x-request-id'].startswith('req_')
  return content
