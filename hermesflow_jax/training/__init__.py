"""Training: step, loop, resumption, log-likelihoods, pretraining losses."""
