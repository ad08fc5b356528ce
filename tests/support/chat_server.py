"""A small OpenAI-compatible chat endpoint on this machine."""

import base64
import collections
import http.server
import io
import json
import re
import threading

import numpy as np
from PIL import Image

from hermesflow_jax.judging import judge_settings


def reply(text, prompt_tokens=10, completion_tokens=2):
  """Returns the JSON of a reply."""
  return json.dumps(
    {
      'choices': [{'message': {'role': 'assistant', 'content': text}}],
      'usage': {
        'prompt_tokens': prompt_tokens,
        'completion_tokens': completion_tokens,
      },
    }
  )


def first_choice(body):
  """Returns the first of the choices in a request; 'yes' without choices."""
  text = body['messages'][0]['content'][-1]['text']
  match = re.search('Choices: (.*?)(,|$)', text)
  return match[1] if match else 'yes'


def pixels(body):
  """Returns the image in a request."""
  url = body['messages'][0]['content'][0]['image_url']['url']
  data = base64.b64decode(url.removeprefix('data:image/png;base64,'))
  return np.asarray(Image.open(io.BytesIO(data)))


class Server:
  """The endpoint, as a context manager.

  Attributes:
    answer: request as JSON -> text of the reply.
    faults: replies (status, headers, content) in place of the next answers.
    form: text of the reply -> JSON of the reply.
    bodies: requests as JSON.
    headers: headers of the requests.
  """

  def __init__(self, answer=first_choice, faults=(), form=reply):
    self.answer, self.faults = answer, collections.deque(faults)
    self.form = form
    self.bodies, self.headers = [], []
    server = self

    class Handler(http.server.BaseHTTPRequestHandler):
      """Answers a request of this server."""

      def do_POST(self):
        size = int(self.headers['Content-Length'])
        body = json.loads(self.rfile.read(size))
        server.bodies.append(body)
        server.headers.append(dict(self.headers) | {'path': self.path})
        try:
          status, headers, data = server.faults.popleft()
        except IndexError:
          status, headers, data = 200, {}, server.form(server.answer(body))
        if not status:
          return  # Closes the connection without a reply.
        data = data if isinstance(data, bytes) else data.encode()
        self.send_response(status)
        for name, value in headers.items():
          self.send_header(name, value)
        self.end_headers()
        try:
          self.wfile.write(data)
        except OSError:
          pass  # The client has read enough.

      def log_message(self, *_):
        pass

    self._http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self._http.daemon_threads = True
    self.url = f'http://127.0.0.1:{self._http.server_port}/v1'

  def __enter__(self):
    threading.Thread(
      target=self._http.serve_forever, args=(0.01,), daemon=True
    ).start()
    return self

  def __exit__(self, *_):
    self._http.shutdown()
    self._http.server_close()

  def settings(self, **changes):
    """Returns settings of a judge that asks this server."""
    values = {'kind': 'endpoint', 'url': self.url, 'model': 'a-model'}
    return judge_settings.JudgeSettings(**values | changes)
