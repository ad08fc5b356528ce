"""Understanding, generation and the gap between them."""
