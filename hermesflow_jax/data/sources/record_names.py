"""Ids of records whose data set names only files."""

import hashlib
import re

# Ids are names of files, too.
NAME = re.compile(r'[A-Za-z0-9._-]{1,128}')
_OTHER = re.compile(r'[^A-Za-z0-9._-]+')


def id_of(name: str) -> str:
  """Returns an id for a name that may have other characters.

  Args:
    name: e.g. the path of an image without its suffix.

  Returns:
    The name itself if it is an id; otherwise its letters and digits, with a
    hash that keeps different names apart.

  >>> id_of('0001')
  '0001'
  >>> id_of('my cats/a 1')
  'my_cats_a_1-aeeb0d03'
  """
  if NAME.fullmatch(name):
    return name
  try:
    data = name.encode('utf-8', 'surrogateescape')
  except UnicodeEncodeError:
    # Half a character: the record's checks name the fault.
    data = name.encode('utf-8', 'surrogatepass')
  digest = hashlib.sha256(data).hexdigest()
  return f'{_OTHER.sub("_", name).strip("_")[:100]}-{digest[:8]}'
