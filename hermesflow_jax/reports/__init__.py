"""Pages that report a run, and tables that compare runs."""
