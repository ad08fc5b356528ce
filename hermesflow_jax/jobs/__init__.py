"""Jobs: a module per command, with `Settings` and `run`."""
