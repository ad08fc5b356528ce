"""Pair-DPO: preference learning from caption pairs and image pairs.

A default training step calls, from the outside in:

  learning.learn_round            builds the step and runs a round
  pair_loss.loss                  the loss that training minimizes
  pair_log_likelihood.pair_logps  scores both pairs in packed rows
  methods.pair_dpo                margins to losses (arXiv 2502.12148, eq. 12)

With method grpo the step calls `group_loss.loss`, which scores groups in packed
rows and calls `group_objective.policy_loss` (arXiv 2402.03300, eq. 3).

`packing.pack_batch` builds the attention mask for packed rows, and
`models/attention.py` applies it. Plain rows and `log_likelihood.image_logps`
serve pretraining and `official_defects`, not default Pair-DPO training.
"""
