"""Short calls for programs that import the library; docs/api.md has examples."""
