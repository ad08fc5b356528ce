"""Image samplers that a job compares: changes to its sampler, by name."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import re

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search_settings


@dataclasses.dataclass(frozen=True)
class SamplerVariant:
  """Changes to an image sampler.

  Attributes:
    name: name in tables and of folders.
    changes: new values of settings of the sampler.

  Raises:
    ValueError: the name does not fit.
  """

  name: str
  changes: dict

  def __post_init__(self):
    if not re.fullmatch(r'[A-Za-z0-9._-]+', self.name):
      raise ValueError(
        'name must be letters, digits, dots, hyphens and underscores, got '
        f'{self.name!r}'
      )


def by_name(
  sampler: maskgit.MaskGITSampler, variants: Sequence[SamplerVariant]
) -> dict[str, maskgit.MaskGITSampler]:
  """Returns samplers by name: `sampler` under '', then its variants.

  Args:
    sampler: image sampler settings.
    variants: changes to them.

  Raises:
    ValueError: two variants have the same name, or a change does not fit.
  """
  names = [variant.name for variant in variants]
  if len(set(names)) < len(names):
    raise ValueError(f'samplers must have different names, got {names}')
  return {'': sampler} | {
    variant.name: settings.with_changes(
      sampler, variant.changes, f'samplers[{number}].changes'
    )
    for number, variant in enumerate(variants)
  }


def name_of(model: str, variant: str) -> str:
  """Returns the name of a model with a sampler.

  Args:
    model: name of the model.
    variant: name of the sampler; '' for the sampler of the job.
  """
  return f'{model}_{variant}' if variant else model


def check_search(
  search: search_settings.Search, samplers: Mapping[str, maskgit.MaskGITSampler]
) -> None:
  """Checks that a search fits all samplers, see `Search.check_sampler`.

  Args:
    search: settings of the search.
    samplers: from `by_name`.

  Raises:
    ValueError: names a sampler that is too short for a stage.
  """
  for name, sampler in samplers.items():
    try:
      search.check_sampler(sampler)
    except ValueError as error:
      if not name:
        raise
      raise ValueError(f'samplers, {name}: {error}') from error


def check_benchmarks(
  variants: Sequence[SamplerVariant], benchmarks: Sequence[protocol.Benchmark]
) -> None:
  """Checks that a benchmark draws images where samplers are compared.

  Args:
    variants: changes to the sampler.
    benchmarks: those of the job.

  Raises:
    ValueError: all benchmarks only ask about images.
  """
  drawing = [b for b in benchmarks if isinstance(b, protocol.DrawingBenchmark)]
  if variants and not drawing:
    raise ValueError(
      f'samplers must be () with benchmarks {[b.name for b in benchmarks]}, '
      f'which draw no image, got {[variant.name for variant in variants]}; '
      'add a benchmark that draws, e.g. tifa'
    )


def check_names(models: Sequence[str], variants: Sequence[str]) -> None:
  """Checks that models with their samplers have different names.

  Args:
    models: names of the models.
    variants: names of the samplers.

  Raises:
    ValueError: two names are the same.
  """
  names = [name_of(model, variant) for model in models for variant in variants]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(
        f'samplers must have names that make no model {name} of another, got '
        f'{[variant for variant in variants if variant]}; rename one'
      )
