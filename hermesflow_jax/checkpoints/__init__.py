"""Checkpoints: saved training states and models.

A folder on disk, and its newest state or model:

  checkpoint       writes and reads arrays with a record; detects damage
  rotation         a training run's checkpoints: saves, resumes, removes old
  run_folder       path to the newest model in the folder of a run

The forms of a model folder:

  model_folder     their interface: sizes, parts, hashes
  trained_model    trained by a job: a checkpoint with all parts
  model_bundle     shipped: safetensors files with all parts
  converted_model  converted from PyTorch: a checkpoint of a single network
  initial_model    opens any of these three for a job that starts from it
  lora_checkpoint  LoRA adapters alone

Helpers: fingerprints (hashes of arrays over devices), part_checks (parts
against a job's settings), read_errors (damaged or not reachable).
"""
