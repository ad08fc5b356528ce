"""Starts a job: `python -m hermesflow_jax pair_dpo`."""

from hermesflow_jax.command import launch

if __name__ == '__main__':
  launch.run()
