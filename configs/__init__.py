"""The only place with numbers: each config says what to run and how."""
