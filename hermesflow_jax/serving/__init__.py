"""A server that answers and draws, in the form of OpenAI's API."""
