"""Compiles the programs of batches before requests need them."""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import early_finish
from hermesflow_jax.sampling import image_steps
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import question_groups
from hermesflow_jax.serving import served_images
from hermesflow_jax.serving import service_requests


@dataclasses.dataclass(frozen=True)
class Program:
  """A batch that compiles what other batches of its shape need.

  Attributes:
    name: what it computes, e.g. 'replies for 8 x 4 questions'.
    size: size of batches that need it.
    run: computes it.
  """

  name: str
  size: int
  run: Callable[[], object]


def programs(service: model_service.ModelService, top_k: int) -> list[Program]:
  """Returns the programs of all sizes, small sizes and frequent ones first.

  Replies to long questions, edits and log-probabilities are compiled when they
  first come.

  Args:
    service: the model.
    top_k: likeliest tokens that a sampled token is among.
  """
  greedy, sampled = batched.GREEDY, batched.Decoding(1.0, top_k)
  planned, planned_groups = [], set()
  for size in service.sizes:
    reply = functools.partial(_reply, service)
    draw = functools.partial(_draw, service)
    planned += [
      Program(
        f'greedy replies to {size}',
        size,
        functools.partial(reply, size, 1, greedy),
      ),
      Program(f'drawings of {size}', size, functools.partial(draw, size)),
      Program(
        f'sampled replies to {size}',
        size,
        functools.partial(reply, size, 1, sampled),
      ),
    ]
    for per_image in question_groups.SIZES[1:]:
      for images in service.sizes:
        shape = images, per_image
        if images * per_image > size or shape in planned_groups:
          continue
        planned_groups.add(shape)
        planned += [
          Program(
            f'{kind} replies to {images} x {per_image}',
            size,
            functools.partial(reply, images, per_image, decoding),
          )
          for kind, decoding in (('greedy', greedy), ('sampled', sampled))
        ]
  return planned


def compile_programs(
  service: model_service.ModelService, top_k: int
) -> Iterator[tuple[int, int, str]]:
  """Compiles all programs, and makes a size of batches usable when it can be.

  Args:
    service: the model; until this ends its `compiled` sizes grow.
    top_k: see `programs`.

  Yields:
    (number of programs that are compiled, number of all, name of the last).
  """
  planned = programs(service, top_k)
  service.compiled = ()
  for number, program in enumerate(planned, 1):
    program.run()
    rest = {later.size for later in planned[number:]}
    service.compiled = tuple(
      s for s in service.sizes if s < min(rest, default=np.inf)
    )
    yield number, len(planned), program.name


def _reply(service, images, per_image, decoding) -> None:
  blank = np.zeros((service.size, service.size, 3), np.uint8)
  questions = [
    service_requests.ReplyRequest(
      served_images.ServedImage(str(n), blank), 'a', decoding, number=number
    )
    for n in range(images)
    for number in range(per_image)
  ]
  groups = np.arange(len(questions)).reshape(images, per_image)
  service.sample(questions, groups)


def _draw(service, size) -> None:
  service.draw(
    [service_requests.DrawRequest('a', n) for n in range(size)], service.sampler
  )
  if service.sampler.error_budget:
    captions = ['a'] * size
    early_finish.draw_all_sizes(
      image_steps.prepare(service.unified, captions, service.sampler),
      batched.identity_keys(0, captions, 1),
    )
