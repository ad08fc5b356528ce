"""Setup that jobs share: mesh, model, inputs, run folder."""
