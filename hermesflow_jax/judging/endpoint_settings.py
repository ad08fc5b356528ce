"""Settings of services behind HTTP: chat endpoints, and what they share."""

import dataclasses
import os
import re
import typing
import urllib.parse

from hermesflow_jax.runtime import settings

_PATH = '/chat/completions'
_VARIABLE = re.compile('[A-Z_][A-Z0-9_]*')
# Fields of a request that the settings have under names of their own.
_OWN_FIELDS = ('model', 'messages', 'stream', 'n')


@dataclasses.dataclass(frozen=True)
class ServiceSettings:
  """A service behind HTTP, and the pace of requests.

  Attributes:
    url: base address, e.g. http://127.0.0.1:8000/v1; '' for no service. It may
      change when a run resumes: a server may move.
    key_variable: name of the environment variable that holds the key; '' for a
      service without keys. The key itself is in no setting and no file.
    timeout: longest time for a reply, in seconds.
    retries: repetitions of a request that fails for now.
    rate: most requests per minute, of all processes together; 0 for no limit.
    parallel: requests at the same time, of each process.
    probe: whether a request tests the service before any work starts.
  """

  url: str = settings.may_change_on_resume(default='', kw_only=True)
  key_variable: str = settings.may_change_on_resume(default='', kw_only=True)
  timeout: settings.PositiveFloat = settings.may_change_on_resume(
    default=60.0, kw_only=True
  )
  retries: settings.NonNegativeInt = settings.may_change_on_resume(
    default=5, kw_only=True
  )
  rate: settings.NonNegativeFloat = settings.may_change_on_resume(
    default=0.0, kw_only=True
  )
  parallel: typing.Annotated[int, settings.between(1, 256)] = (
    settings.may_change_on_resume(default=8, kw_only=True)
  )
  probe: bool = settings.may_change_on_resume(default=True, kw_only=True)

  def __post_init__(self):
    settings.check(self)
    if self.url:
      _check_url(self.url)
    # A key that is given by mistake must not be printed.
    if self.key_variable and not _VARIABLE.fullmatch(self.key_variable):
      raise ValueError(
        'key_variable must be the name of an environment variable, in capital '
        f'letters, got a text of {len(self.key_variable)} characters; put the '
        'key into a variable, and give its name'
      )

  @property
  def host(self) -> str:
    """Host and port of the address."""
    return urllib.parse.urlsplit(self.url).netloc

  def address_of(self, path: str) -> str:
    """Returns the address of a path of the service.

    Args:
      path: e.g. '/score'. `url` may end with it.
    """
    base = self.url.rstrip('/')
    return base if base.endswith(path) else base + path

  def key(self, setting: str) -> str:
    """Returns the key; '' for a service without keys.

    Args:
      setting: name of these settings, for the error.

    Raises:
      ValueError: the environment variable is not set, or holds no key.
    """
    if not self.key_variable:
      return ''
    key = os.environ.get(self.key_variable, '').strip()
    if not key or not key.isascii() or not key.isprintable():
      state = 'no plain line of text' if key else 'which is not set'
      raise ValueError(
        f'{setting}.key_variable must be an environment variable with a key, '
        f'got {self.key_variable}, {state}; run export '
        f'{self.key_variable}=<key> first'
      )
    return key


@dataclasses.dataclass(frozen=True)
class EndpointSettings(ServiceSettings):
  """A chat endpoint and its model.

  Attributes:
    model: name of the model, as the endpoint knows it.
    max_tokens: longest reply, in tokens.
    temperature: 0 for the likeliest reply.
    seed: random seed of the endpoint.
    body: more fields of each request, as a mapping; None leaves a field out,
      e.g. {'max_tokens': None, 'max_completion_tokens': 64}.
  """

  model: str = dataclasses.field(default='', kw_only=True)
  max_tokens: settings.PositiveInt = dataclasses.field(default=64, kw_only=True)
  temperature: settings.NonNegativeFloat = dataclasses.field(
    default=0.0, kw_only=True
  )
  seed: settings.NonNegativeInt = dataclasses.field(default=0, kw_only=True)
  body: dict = dataclasses.field(default_factory=dict, kw_only=True)

  def __post_init__(self):
    super().__post_init__()
    if own := sorted(set(self.body) & set(_OWN_FIELDS)):
      raise ValueError(
        f'body must not have {", ".join(own)}, which other settings give, got '
        f'{sorted(self.body)}'
      )

  @property
  def address(self) -> str:
    """Address that requests go to."""
    return self.address_of(_PATH)


def _check_url(url):
  """Raises ValueError if an address cannot be that of an endpoint."""
  expected = 'url must be an address such as http://127.0.0.1:8000/v1'
  try:
    parts = urllib.parse.urlsplit(url)
    port = parts.port
  except ValueError as error:
    raise ValueError(f'{expected}, got {url!r} ({error})') from error
  if '@' in parts.netloc or parts.query:
    # It may hold a password or a key.
    raise ValueError(
      f'{expected}, got an address with a user name or a query; give the key '
      'by key_variable'
    )
  plain = url.isascii() and url.isprintable() and ' ' not in url
  if parts.scheme not in ('http', 'https') or not parts.hostname or not plain:
    raise ValueError(f'{expected}, got {url!r}')
  try:
    parts.hostname.encode('idna')
  except UnicodeError as error:
    raise ValueError(
      f'{expected}, got {url!r}, whose host name has an empty or too long part'
    ) from error
  if port == 0:
    raise ValueError(f'{expected}, got {url!r} with port 0')
