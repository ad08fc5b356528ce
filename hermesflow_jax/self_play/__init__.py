"""Self-play, algorithm 1 in arXiv 2502.12148: curate, learn, evaluate."""
