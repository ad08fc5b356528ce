"""What the samplers cost, beside the same work done naively."""
