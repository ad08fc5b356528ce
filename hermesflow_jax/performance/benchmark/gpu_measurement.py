"""A measurement on a GPU: a workload in one form of the model, or a command."""

import dataclasses
import typing

from hermesflow_jax.models import phi_config
from hermesflow_jax.performance.benchmark import named_workload
from hermesflow_jax.performance.benchmark import workload_times
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class ModelForm:
  """How the model is computed.

  Attributes:
    precision: dtype of activations, and of weights in sampling.
    attention: backend for image queries.
    fused: whether sampling has fused products.
    remat: recomputed activations, see `phi_config.PhiConfig`.
  """

  precision: typing.Annotated[str, settings.one_of(*workload_times.PRECISIONS)]
  attention: phi_config.Backend = 'xla'
  fused: bool = True
  remat: typing.Annotated[str, settings.one_of(*phi_config.REMAT)] = 'none'

  def decoder(self, sizes: phi_config.PhiConfig) -> phi_config.PhiConfig:
    """Returns decoder sizes in this form."""
    return dataclasses.replace(
      sizes, dtype=self.precision, attention=self.attention, remat=self.remat
    )


@dataclasses.dataclass(frozen=True)
class Measurement:
  """A measurement, which sets either a workload or a command.

  Attributes:
    name: unique name, in tables and of files.
    group: measurements with the same group share processes.
    workload: workload that is timed.
    form: how the model is computed.
    baseline: '' times the library; 'jax' and 'torch' its naive form.
    profile: whether a call runs under the profiler, too.
    command: arguments of `hermesflow`, which runs as it does for a user.
    goal: seconds that the measurement should take at most; 0 for none.
  """

  name: str
  group: str
  workload: named_workload.NamedWorkload | None = None
  form: ModelForm = ModelForm('bfloat16')
  baseline: typing.Annotated[str, settings.one_of('', 'jax', 'torch')] = ''
  profile: bool = False
  command: tuple[str, ...] = ()
  goal: settings.NonNegativeFloat = 0.0

  def __post_init__(self):
    settings.check(self)
    if bool(self.workload) == bool(self.command):
      raise ValueError(
        f'{self.name} must have either a workload or a command, got '
        f'{"both" if self.command else "none"}'
      )


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Two measurements that stand side by side.

  Attributes:
    name: title.
    first: name of a measurement.
    second: name of the other.
  """

  name: str
  first: str
  second: str
