"""Bodies of requests: JSON, and forms with files, of bounded size."""

from collections.abc import Collection
from collections.abc import Mapping
import json

from starlette import requests as web

from hermesflow_jax.serving import api_errors


def bounded(request: web.Request, most: int) -> web.Request:
  """Returns a request that raises when its body grows too large.

  Args:
    request: the request.
    most: bytes of the body at most.

  Raises:
    api_errors.BodyTooLarge: its header already says so; or later, when the
      body is read.
  """
  fault = api_errors.BodyTooLarge(f'the body must have at most {most} bytes')
  length = request.headers.get('content-length', '0')
  if not length.isdigit() or int(length) > most:
    raise fault
  count = 0

  async def receive():
    nonlocal count
    message = await request.receive()
    count += len(message.get('body', b''))
    if count > most:
      raise fault
    return message

  return web.Request(request.scope, receive)


async def read_json(request: web.Request) -> Mapping:
  """Returns the JSON object of a body.

  Args:
    request: from `bounded`.

  Raises:
    ValueError: the body is no JSON object.
  """
  data = await request.body()
  try:
    value = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'the body must be JSON: {error}') from error
  if not isinstance(value, Mapping):
    raise ValueError('the body must be a JSON object')
  return value


async def read_form(
  request: web.Request,
  names: Mapping[str, bool],
  numbers: Collection[str],
  most: int,
) -> tuple[dict, dict[str, bytes]]:
  """Returns the fields and the files of a form.

  Args:
    request: from `bounded`.
    names: names of files, and whether each must be there.
    numbers: fields that are whole numbers.
    most: bytes of a field at most.

  Returns:
    (fields as texts or numbers, content of each file; b'' for a file that is
    not there).

  Raises:
    ValueError: a file is missing.
  """
  async with request.form(max_part_size=most) as form:
    files = {}
    for name, needed in names.items():
      # The openai client sends a list of images as `image[]`.
      value = form.get(name) or form.get(f'{name}[]')
      is_file = value is not None and not isinstance(value, str)
      if needed and not is_file:
        raise api_errors.FieldError(name, 'be a file')
      files[name] = await value.read() if is_file else b''
    fields = {
      key: _plain(value) if key in numbers else value
      for key, value in form.items()
      if isinstance(value, str) and key not in names
    }
  return fields, files


def _plain(text):
  """Returns a text as a number where it is one."""
  try:
    return int(text)
  except ValueError:
    return text
