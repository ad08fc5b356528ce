"""Short calls for programs that import the package; see docs/api.md."""
