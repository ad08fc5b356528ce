"""Foundation of every job: mesh, processes, storage, settings, terminal."""
