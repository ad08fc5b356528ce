"""Pair-DPO: preference learning from caption pairs and image pairs.

A default training step calls, from the outside in:

  learning.learn_round            builds the step and runs a round
  pair_loss.loss                  the loss that training minimizes
  pair_log_likelihood.pair_logps  scores both pairs in packed rows
  methods.pair_dpo                margins to losses (arXiv 2502.12148, eq. 12)

`packing.pack_batch` builds the attention mask for packed rows, and
`models/attention.py` applies it. Plain rows and `log_likelihood.image_logps`
serve pretraining and `official_defects`, not default Pair-DPO training.
"""
