"""Jobs: a module per job, with its `Settings` and `run`.

`compile_for` runs instead of a `pair_dpo` job under the flag `--compile_for`
and takes its settings. The jobs `seeds` and `ablation`, which start several
runs, are in `experiments`.
"""
