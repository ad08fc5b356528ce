"""Address of the first of several processes."""


def parse(coordinator: str) -> tuple[str, int]:
  """Returns (host, port) of 'host:port'.

  Raises:
    ValueError: `coordinator` has another form.
  """
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise ValueError(
      f"coordinator must be host:port or 'auto', got {coordinator!r}"
    )
  return host.strip('[]'), int(port)
