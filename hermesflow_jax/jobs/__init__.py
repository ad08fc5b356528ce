"""Jobs: one module a command, with Settings and run."""
