"""HermesFlow in JAX: a multimodal model aligns what it sees and draws.

Folders in layers, from top to bottom; a layer imports only from lower layers.

  experiments   comparisons: ablation, seeds, control
  jobs          a module per command
  library       short calls for programs (docs/api.md)
  self_play     rounds: curate, learn, evaluate (algorithm 1)
  reports       pages, charts and tables
  performance   speed and memory, here and on TPU slices
  pair_dpo      the loss, from pairs to gradient
  evaluation    understanding, generation and their gap
  curation      candidates, scores, pairs
  training      optimizer, step, loop, resumption
  sampling      samplers for images, text and answers
  checkpoints   saved models and training states
  models        Show-o, Phi, attention, MAGVIT-v2, LoRA, CLIP
  sequences     vocabulary, rows, attention mask
  data          records, images, batches
  shapes        the embedded world and its judge
  runtime       mesh, processes, storage, settings, signals

`assets` holds the shipped model. docs/architecture.md follows a pair through
these folders.
"""
