"""Public benchmarks: their files, prompts, parsers and scores."""
