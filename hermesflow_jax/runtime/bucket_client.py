"""The client of buckets."""

import functools
import logging
import os


@functools.cache
def filesystem():
  """Returns the filesystem for all buckets.

  Raises:
    ValueError: gcsfs is not installed.
  """
  # Buckets with hierarchical namespaces, which cost a request at every call.
  os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
  try:
    import fsspec
    import gcsfs
  except ImportError as error:
    raise ValueError('gs:// needs `pip install gcsfs`') from error
  del gcsfs
  # gcsfs also raises the errors that it logs.
  logging.getLogger('gcsfs').setLevel(logging.CRITICAL)
  # Listings are not cached, so files of other processes are seen at once.
  fsspec.config.conf.setdefault('gcs', {})['use_listings_cache'] = False
  # The instance that epath uses.
  return fsspec.filesystem('gcs', finalize_on_close=True)
