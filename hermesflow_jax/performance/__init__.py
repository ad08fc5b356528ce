"""Measures and predicts speed.

`benchmark` means speed here: seconds per sampler call and training step. The
folder `evaluation` has the scores.

  benchmark/  times on the attached device, compared with naive baselines
  pods/       memory and least times on TPU slices that are not attached
"""
