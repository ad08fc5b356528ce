"""Image generations and edits in OpenAI's form."""

import base64
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import io
import time

import numpy as np
from PIL import Image

from hermesflow_jax.data import image_reader
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.serving import api_errors
from hermesflow_jax.serving import chat_forms

# Fields that are whole numbers.
NUMBERS = ('n', 'best_of', 'seed')


@dataclasses.dataclass(frozen=True)
class ImageRequest:
  """A checked request.

  Attributes:
    prompt: text to draw.
    count: number of images.
    seed: random seed.
    best_of: images that are drawn; the `count` best by the model's own
      likelihood of the prompt are sent.
  """

  prompt: str
  count: int
  seed: int
  best_of: int


def read(body: Mapping, side: int, candidates: int = 1) -> ImageRequest:
  """Checks a request.

  Args:
    body: JSON object, or the fields of a form.
    side: side of the images that the model draws, in pixels.
    candidates: drawings for each image where the request has no `best_of`.

  Raises:
    ValueError: says which field has a fault.
  """
  prompt = body.get('prompt')
  if not isinstance(prompt, str) or not prompt.strip():
    raise api_errors.FieldError('prompt', 'be a text')
  text_tokenizer.check_prompt('prompt', prompt)
  size = body.get('size') or 'auto'
  if size not in ('auto', f'{side}x{side}'):
    raise api_errors.FieldError('size', f'be {side}x{side}, got {size!r:.40}')
  form = body.get('response_format') or 'b64_json'
  if form != 'b64_json':
    raise api_errors.FieldError(
      'response_format', f'be b64_json, got {form!r:.40}'
    )
  count = chat_forms.number(body, 'n', 1, 1, 16, int)
  default = min(count * candidates, 64)
  best_of = chat_forms.number(body, 'best_of', default, count, 64, int)
  seed = chat_forms.number(body, 'seed', 0, 0, 2**32 - 1, int)
  return ImageRequest(prompt, count, seed, best_of)


def write(images: Sequence[np.ndarray]) -> dict:
  """Returns images as base64 of PNG files.

  Args:
    images: uint8[H, W, 3] each.
  """
  return {
    'created': int(time.time()),
    'data': [{'b64_json': png_base64(image)} for image in images],
  }


def png_base64(image: np.ndarray) -> str:
  """Returns an image uint8[H, W, 3] as base64 of a PNG file."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'PNG')
  return base64.b64encode(file.getvalue()).decode()


def known_codes(
  image: bytes, mask: bytes, grid: tuple[int, int], side: int
) -> np.ndarray:
  """Returns which codes of an image stay: bool[I].

  Args:
    image: image file; without a mask its transparent pixels are drawn anew.
    mask: mask file as large as the image; transparent pixels are drawn anew,
      as OpenAI has it. b'' for none.
    grid: (h, w), image size in codes.
    side: side of the image that the model reads, in pixels.

  Raises:
    ValueError: the mask has another size, or marks no pixel.
  """
  with Image.open(io.BytesIO(image)) as opened:
    size = opened.size
    alpha = opened.convert('RGBA').getchannel('A')
  if mask:
    with Image.open(io.BytesIO(mask)) as opened:
      if opened.size != size:
        raise ValueError(
          f'mask must be as large as the image, {size[0]} x {size[1]}, got '
          f'{opened.size[0]} x {opened.size[1]}'
        )
      alpha = opened.convert('RGBA').getchannel('A')
  opaque = np.asarray(image_reader.crop_square(alpha, side)) > 127
  h, w = grid
  blocks = opaque.reshape(h, side // h, w, side // w)
  # A code is drawn anew if any of its pixels is.
  known = blocks.all((1, 3)).reshape(-1)
  if known.all():
    raise ValueError('mask must have transparent pixels, which are drawn anew')
  return known
