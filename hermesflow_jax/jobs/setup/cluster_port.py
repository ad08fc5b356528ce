"""Port of the first process in a cluster that JAX knows, e.g. of Slurm."""

import os

from hermesflow_jax.jobs.setup import rendezvous


def check(seconds: float) -> None:
  """Checks in process 0 that the port which JAX will listen at is free.

  JAX ends the process with a core dump if the port is taken.

  Args:
    seconds: longest time that the cluster may take to name the process.

  Raises:
    OSError: the port is taken.
  """
  address, process = _detect(seconds)
  port = str(address).rpartition(':')[2]
  if process == 0 and port.isdecimal():
    rendezvous.listen(
      int(port), 'set JAX_COORDINATOR_PORT to another port in all processes'
    ).close()


def _detect(seconds) -> tuple[str | None, int | None]:
  """Returns (address of process 0, number of this process); None if unknown."""
  try:
    # JAX has no public function that only looks.
    from jax._src import clusters

    address, _, process, _ = (
      clusters.ClusterEnv.auto_detect_unset_distributed_params(
        coordinator_address=os.environ.get('JAX_COORDINATOR_ADDRESS'),
        num_processes=None,
        process_id=None,
        local_device_ids=None,
        cluster_detection_method=None,
        initialization_timeout=int(seconds),
      )
    )
  except Exception:
    # Another release of JAX, or a cluster that does not answer:
    # `jax.distributed.initialize` meets the same fault and reports it.
    return None, None
  return address, process
