"""Lowers workloads for CUDA on a machine without a GPU.

Weights and inputs are shapes. So the whole model is traced in seconds, and an
error in tracing or lowering shows before a GPU is lent.
"""

import dataclasses
import time

from flax import nnx
import jax
import numpy as np

from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.performance.benchmark import workload_times
from hermesflow_jax.sampling import serving_weights

# Kernels of cuDNN in a lowered program.
_CUDNN = '@__cudnn$'


def abstract_work(
  timed_work: workload.Workload,
  sizes: showo.ShowOConfig,
  tokenizer: magvit_config.MagvitConfig | None,
  fused: bool,
) -> workload.Work:
  """Returns a workload whose arguments are shapes.

  Args:
    timed_work: the workload.
    sizes: transformer sizes.
    tokenizer: image tokenizer sizes, or None.
    fused: whether sampling has fused products.
  """
  works = []

  def arguments(key):
    model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
    mesh = workload_times.single_device_mesh()
    works.append(
      timed_work.ours(
        workload.Models(
          serving_weights.prepare_for_serving(model, mesh, fused),
          model,
          tokenizer and magvit.Magvit(tokenizer, nnx.Rngs(key)),
        ),
        np.random.default_rng(0),
      )
    )
    return works[0].arguments

  shapes = jax.eval_shape(arguments, jax.random.key(0))
  return dataclasses.replace(works[0], arguments=shapes)


def lower(work: workload.Work) -> dict:
  """Traces a workload and lowers it for CUDA.

  Args:
    work: from `abstract_work`.

  Returns:
    `argument_bytes`, calls of cuDNN in the program, and the seconds it took.

  Raises:
    RuntimeError: the program calls cuDNN, which is not installed.
  """
  began = time.perf_counter()
  lowered = work.call.trace(*work.arguments).lower(lowering_platforms=('cuda',))
  return {
    'argument_bytes': sum(
      leaf.size * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(work.arguments)
    ),
    'cudnn_calls': lowered.as_text().count(_CUDNN),
    'lowering_seconds': time.perf_counter() - began,
  }


def compiled_bytes(work: workload.Work) -> int:
  """Returns the bytes of a workload that is compiled for this machine.

  On a CPU XLA fuses other operations than on a GPU, so that this is an
  estimate of the temporaries; arguments and results are exact.

  Args:
    work: from `abstract_work`, with attention 'xla'.
  """
  compiled = work.call.lower(*work.arguments).compile()
  return workload_times.total_bytes(compiled.memory_analysis())
