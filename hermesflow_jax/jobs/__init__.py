"""What one can start: each job has Settings and a function `run`."""
