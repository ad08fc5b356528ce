"""Understanding, generation and the gap between them, on held-out inputs."""
