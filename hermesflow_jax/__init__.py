"""HermesFlow in JAX: a multimodal model aligns what it sees and draws.

Folders, numbered by layer; a folder imports only from lower layers.

  10 command      the command line: `hermesflow`, `python main.py`
  9 experiments   comparisons: ablation, seeds, control
  8 jobs          a module per command
    library       short calls for programs (docs/api.md)
  7 self_play     rounds: curate, learn, evaluate (algorithm 1)
    reports       pages, charts and tables
    performance   speed and memory, here and on TPU slices
  6 pair_dpo      the loss, from pairs to gradient
    evaluation    understanding, generation and their gap
  5 curation      candidates, scores, pairs
    training      optimizer, step, loop, resumption
  4 sampling      samplers for images, text and answers
    checkpoints   saved models and training states
  3 models        Show-o, Phi, attention, MAGVIT-v2, LoRA, CLIP
  2 sequences     vocabulary, rows, attention mask
    data          records, images, batches
    shapes        the embedded world and its judge
  1 runtime       mesh, processes, storage, settings, signals

`assets` holds the shipped model. docs/architecture.md follows a pair through
these folders.
"""
