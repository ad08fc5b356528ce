"""Measures and predicts speed.

`benchmark` means speed here: seconds of samplers and training steps. Scores of
a model are in `evaluation`.

  benchmark/  times on the attached device, compared with naive baselines
  pods/       memory and least times on TPU slices that are not attached
"""
