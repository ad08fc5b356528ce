"""The parts of the report: markup, charts, sections, style."""
