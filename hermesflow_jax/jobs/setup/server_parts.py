"""The parts of a server: modules that need its packages, and the model."""

import functools
import types

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import search_settings

_INSTALL = "pip install 'hermesflow_jax[serve]'"


@functools.cache
def load() -> types.SimpleNamespace:
  """Imports what only a server needs; returns the modules by name.

  Raises:
    ValueError: a package is missing.
  """
  try:
    import uvicorn

    from hermesflow_jax.serving import app
    from hermesflow_jax.serving import image_forms
    from hermesflow_jax.serving import model_service
    from hermesflow_jax.serving import request_images
    from hermesflow_jax.serving import request_queue
    from hermesflow_jax.serving import service_requests
    from hermesflow_jax.serving import startup
    from hermesflow_jax.serving import warm_up
  except ImportError as error:
    raise ValueError(
      f'serve needs starlette, uvicorn and python-multipart, got {error}; run '
      f'{_INSTALL}'
    ) from error
  return types.SimpleNamespace(
    uvicorn=uvicorn,
    app=app,
    image_forms=image_forms,
    model_service=model_service,
    request_images=request_images,
    request_queue=request_queue,
    service_requests=service_requests,
    startup=startup,
    warm_up=warm_up,
  )


def make_service(config, path, search=None):
  """Returns a `model_service.ModelService` whose model is on the mesh.

  Args:
    config: settings of a model, with `sampler` and `batches`.
    path: model folder.
    search: see `model_service.ModelService`; None for its default.
  """
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  unified = job_model.place_on_mesh(config, parts, mesh, terminal.silent())
  return load().model_service.ModelService(
    unified,
    vision_tower.image_size(unified),
    config.sampler,
    config.batches,
    search or search_settings.Search(),
  )
