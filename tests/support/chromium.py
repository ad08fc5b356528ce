"""Drives Chromium without a window by its DevTools protocol, over a pipe."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time

PROGRAM = next(
  filter(
    None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))
  ),
  None,
)
_OPTIONS = (
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-extensions',
  '--disable-background-networking',
  '--disable-component-update',
  '--remote-debugging-pipe',
)


@contextlib.contextmanager
def tab(folder, width, height):
  """Yields a Tab of a new browser that is closed afterwards.

  Args:
    folder: for the profile.
    width: pixels of the window.
    height: pixels of the window.
  """
  (read, answer), (question, write) = map(_high, (os.pipe(), os.pipe()))
  # The browser reads its file 3 and writes to its file 4.
  browser = subprocess.Popen(
    ['bash', '-c', f'exec "$@" 3<&{question} 4>&{answer}', 'bash', PROGRAM]
    + [*_OPTIONS, f'--window-size={width},{height}']
    + [f'--user-data-dir={folder}', 'about:blank'],
    pass_fds=(question, answer),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  os.close(question)
  os.close(answer)
  try:
    with os.fdopen(read, 'rb') as replies, os.fdopen(write, 'wb', 0) as calls:
      yield Tab(replies, calls)
  finally:
    browser.terminate()
    browser.wait(10)


def _high(pipe):
  """Returns the files of a pipe under numbers that nothing else has."""
  files = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10) for file in pipe]
  for file in pipe:
    os.close(file)
  return files


class Tab:
  """A tab of a browser.

  Attributes:
    faults: exceptions and errors of the console, as JSON.
  """

  def __init__(self, replies, calls):
    self._replies, self._calls = replies, calls
    self._numbers = itertools.count(1)
    self._rest, self._session, self.faults = b'', None, []
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
    self._session = attached['sessionId']
    self.call('Runtime.enable')
    self.call('Log.enable')

  def call(self, method, **params):
    """Returns the result of a command of the protocol."""
    number = next(self._numbers)
    message = {'id': number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    self._calls.write(json.dumps(message).encode() + b'\0')
    while True:
      message = self._message()
      if message.get('id') == number:
        assert 'error' not in message, message
        return message['result']
      if message.get('method') in ('Runtime.exceptionThrown', 'Log.entryAdded'):
        self.faults.append(message['params'])

  def _message(self):
    while b'\0' not in self._rest:
      part = os.read(self._replies.fileno(), 1 << 16)
      assert part, 'the browser ended'
      self._rest += part
    text, _, self._rest = self._rest.partition(b'\0')
    return json.loads(text)

  def run(self, script):
    """Returns the value of an expression on the page."""
    result = self.call(
      'Runtime.evaluate',
      expression=script,
      returnByValue=True,
      awaitPromise=True,
    )
    assert 'exceptionDetails' not in result, result
    return result['result'].get('value')

  def wait(self, condition):
    """Waits until an expression on the page is true."""
    end = time.monotonic() + 20
    while not self.run(f'Boolean({condition})'):
      assert time.monotonic() < end, condition
      time.sleep(0.02)
