"""Measurements for child processes: each name says how it ends."""

import os
import signal
import time


def measure(name):
  if name == 'raises':
    raise RuntimeError('RESOURCE_EXHAUSTED:\n  out of memory')
  if name == 'dies':
    os.kill(os.getpid(), signal.SIGKILL)
  if name == 'hangs':
    time.sleep(60)
  return {'name': name, 'process': os.getpid()}
