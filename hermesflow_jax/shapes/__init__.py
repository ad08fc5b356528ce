"""The embedded world: coloured shapes, captions, questions and a pixel judge."""
