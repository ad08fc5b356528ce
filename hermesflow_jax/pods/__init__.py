"""What a program wants of a TPU slice that is not there: it is compiled for it."""
