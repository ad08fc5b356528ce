"""The embedded world: scenes of shapes, captions, questions, pixel judge."""
