"""A kind of device has the peak rate of its chip."""

import pytest

from hermesflow_jax.runtime import accelerators


@pytest.mark.parametrize(
  'kind, peak',
  [
    ('TPU v5 lite', 197e12),
    ('TPU v5e', 197e12),
    ('TPU v5p', 459e12),
    ('TPU v5', 459e12),
    ('TPU v6 lite', 918e12),
    ('TPU v6e', 918e12),
    ('NVIDIA A100-SXM4-80GB', 312e12),
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA H200', 989e12),
    ('cpu', None),
  ],
)
def test_a_kind_of_device_has_the_peak_of_its_chip(kind, peak):
  assert accelerators.peak_flops(kind) == peak


def test_a_chip_without_a_torus_has_no_slices():
  with pytest.raises(ValueError, match='topology must be one of v5e, v6e, v5p'):
    accelerators.parse_slice('H200:4x4')
