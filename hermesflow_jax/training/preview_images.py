"""Images of fixed prompts, drawn while a model is fine-tuned."""

from collections.abc import Callable
import dataclasses
import pathlib

import numpy as np

from hermesflow_jax.data import image_writer
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import renamed_settings
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model


@dataclasses.dataclass(frozen=True)
class Previews:
  """Prompts that are drawn.

  Attributes:
    prompts: texts; () for no previews.
    images_per_prompt: images of each text that is drawn.
    sampler: image sampler.
  """

  prompts: tuple[str, ...] = ()
  images_per_prompt: settings.PositiveInt = renamed_settings.earlier(
    'each', default=2
  )
  sampler: maskgit.MaskGITSampler = maskgit.MaskGITSampler(16, 1.0)

  def __post_init__(self):
    settings.check(self)


def make_writer(
  unified: unified_model.UnifiedModel,
  config: Previews,
  seed: int,
  folder: pathlib.PurePath,
) -> Callable:
  """Returns the function (model, step) -> None that draws and writes images.

  Writes `<step>/<prompt>-<image>.png` and a contact sheet `<step>.png`.

  Args:
    unified: tokenizers, lengths and mesh.
    config: prompts.
    seed: random seed; an image depends on seed, prompt and its number.
    folder: folder of all previews.
  """
  silent = dataclasses.replace(unified, progress=_no_progress)

  def write(model, step):
    drawer = dataclasses.replace(silent, model=model)
    codes = drawer.draw(
      config.prompts,
      config.prompts,
      config.images_per_prompt,
      config.sampler,
      seed,
    )
    pixels = drawer.decode(codes.reshape(-1, codes.shape[-1]))
    rows = pixels.reshape(
      len(config.prompts), config.images_per_prompt, *pixels.shape[1:]
    )
    if not processes.is_first():
      return
    name = f'{step:06d}'
    for number, (prompt, images) in enumerate(zip(config.prompts, rows)):
      for image_number, image in enumerate(images):
        facts = {'prompt': prompt, 'step': step, 'number': image_number}
        path = folder / name / f'{number:02d}-{image_number}.png'
        image_writer.save_png(path, image, facts)
    image_writer.contact_sheet(folder / f'{name}.png', rows, config.prompts)

  return write


def _no_progress(label):
  del label
  return iter


def read_images(
  folder: pathlib.PurePath, steps: int, prompts: int
) -> list[tuple[int, list[np.ndarray]]]:
  """Returns the first image of each prompt at some steps.

  Args:
    folder: folder of all previews.
    steps: most steps; the first and the last are among them.
    prompts: most prompts.

  Returns:
    (step, uint8[H, W, 3] per prompt), sorted by step.
  """
  names = sorted(name for name in storage.list_names(folder) if name.isdigit())
  if len(names) > steps:
    picks = np.linspace(0, len(names) - 1, steps).round().astype(int)
    names = [names[n] for n in picks]
  return [
    (
      int(name),
      [
        image_writer.read_pixels(folder / name / file)
        for file in sorted(storage.list_names(folder / name))
        if file.endswith('-0.png')
      ][:prompts],
    )
    for name in names
  ]
