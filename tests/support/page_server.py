"""The page of the server, with routes that answer without a model."""

import base64
import contextlib
import io
import json
import threading
import time
import types

from PIL import Image
from starlette import applications
from starlette import responses
from starlette import routing
import uvicorn

from hermesflow_jax.serving import page
from hermesflow_jax.shapes import shape_world

SIDE = 64
NAME = 'shapes'


class Words:
  """A text tokenizer that knows the embedded world's words."""

  def __init__(self, words=shape_world.WORDS):
    self.words = words
    self.size = len(words)

  def unknown_words(self, texts):
    return [w for t in texts for w in t.split() if w not in self.words]


def service(text=None):
  """Returns as much of a `ModelService` as the page reads."""
  unified = types.SimpleNamespace(
    text=text or Words(),
    grid=(4, 4),
    caption_prompt='Give a caption for this image.',
  )
  return types.SimpleNamespace(unified=unified, size=SIDE)


def app(text=None, key=False):
  """Returns an application with the page alone; its routes have no checks."""
  return applications.Starlette(
    routes=page.routes(service(text), NAME, key, lambda route: route)
  )


class Replies:
  """Routes in OpenAI's form; the requests are kept.

  Attributes:
    edits: (prompt, size of the image, share of it that is drawn anew).
    questions: questions that came in.
  """

  def __init__(self):
    self.edits, self.questions, self.draws = [], [], []

  def app(self):
    posts = {
      '/v1/images/generations': self.draw,
      '/v1/images/edits': self.edit,
      '/v1/chat/completions': self.chat,
    }
    return applications.Starlette(
      routes=page.routes(service(), NAME, False, lambda route: route)
      + [routing.Route(p, act, methods=['POST']) for p, act in posts.items()]
    )

  async def draw(self, request):
    body = await request.json()
    self.draws.append(body)
    if body['seed'] == 429:
      return responses.JSONResponse({}, 429)
    return _images(['red', 'blue', 'green'][: body['n']])

  async def edit(self, request):
    async with request.form() as form:
      image = Image.open(io.BytesIO(await form['image'].read()))
      mask = Image.open(io.BytesIO(await form['mask'].read()))
      assert mask.size == image.size
      clear = mask.convert('RGBA').getchannel('A').histogram()[0]
      share = clear / (image.width * image.height)
      self.edits.append((form['prompt'], image.size, share))
    return _images(['black'])

  async def chat(self, request):
    (message,) = (await request.json())['messages']
    text, image = message['content']
    assert image['image_url']['url'].startswith('data:image/png;base64,')
    self.questions.append(text['text'])
    parts = [{'role': 'assistant', 'content': ''}]
    parts += [{'content': word} for word in ('re', 'd')]
    lines = [f'data: {json.dumps({"choices": [{"delta": p}]})}' for p in parts]
    return responses.PlainTextResponse('\n\n'.join([*lines, 'data: [DONE]']))


def _images(colors):
  data = []
  for color in colors:
    file = io.BytesIO()
    Image.new('RGB', (SIDE, SIDE), color).save(file, 'PNG')
    data.append({'b64_json': base64.b64encode(file.getvalue()).decode()})
  return responses.JSONResponse({'data': data})


@contextlib.contextmanager
def serve(application):
  """Yields the address of an application that runs in a thread."""
  server = uvicorn.Server(
    uvicorn.Config(application, port=0, log_level='warning', lifespan='off')
  )
  thread = threading.Thread(target=server.run, daemon=True)
  thread.start()
  end = time.monotonic() + 10
  while not server.started:
    assert time.monotonic() < end
    time.sleep(0.01)
  port = server.servers[0].sockets[0].getsockname()[1]
  try:
    yield f'http://127.0.0.1:{port}/'
  finally:
    server.should_exit = True
    thread.join(10)
