"""Reports: a page per run, and tables that compare runs."""
