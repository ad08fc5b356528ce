"""The port that a server listens on."""

import errno
import ipaddress
import socket

# Connections that wait while the server is busy.
_BACKLOG = 2048


def is_local(host: str) -> bool:
  """Returns whether only this machine reaches an address.

  Args:
    host: name or address.
  """
  if host == 'localhost':
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def listen(host: str, port: int) -> socket.socket:
  """Returns a socket that listens.

  Args:
    host: name or address of this machine.
    port: port; 0 for a free one.

  Raises:
    ValueError: the address cannot be used, e.g. another program listens there.
  """
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  listening = socket.socket(family)
  listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    listening.bind((host, port))
    # At once: no second server takes the port while this one loads its model.
    listening.listen(_BACKLOG)
  except OSError as error:
    listening.close()
    is_host = isinstance(error, socket.gaierror) or (
      error.errno == errno.EADDRNOTAVAIL
    )
    if is_host:
      raise ValueError(
        f'host must be an address of this machine, got {host}: '
        f'{error.strerror}; give e.g. --config.host=127.0.0.1'
      ) from error
    raise ValueError(
      f'port must be free on {host}, got {port}: '
      f'{error.strerror}; give another --config.port, or 0 for any'
    ) from error
  return listening


def address(listening: socket.socket) -> str:
  """Returns the address of a socket that listens, e.g. 'http://[::1]:8000'.

  Args:
    listening: the socket.
  """
  host, port = listening.getsockname()[:2]
  return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'
