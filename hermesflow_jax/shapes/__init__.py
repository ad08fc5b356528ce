"""The embedded world: scenes with shapes, captions, questions, pixel judge."""
