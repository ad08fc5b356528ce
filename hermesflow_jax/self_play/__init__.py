"""Self-play, algorithm 1 of arXiv 2502.12148: curate, learn, evaluate."""
