"""Pair-DPO learns from pairs of captions and pairs of images.

A step of default training calls, from the outside in:

  learning.learn_round            builds the step and runs a round of steps
  pair_loss.loss                  the loss that training minimizes
  pair_log_likelihood.pair_logps  log-likelihoods of both pairs in packed rows
  methods.pair_dpo                margins to losses (arXiv 2502.12148, eq. 12)

`packing.pack_batch` builds the attention mask of the packed rows, and
`models/attention.py` applies it. Plain rows and `log_likelihood.image_logps`
serve pretraining and `official_defects`, not default Pair-DPO training.
"""
