"""Laws of the page in a browser, with replies that need no model."""

import chromium
import page_server
import pytest

pytestmark = pytest.mark.skipif(
  chromium.PROGRAM is None, reason='needs Chromium'
)

# A picture of the user, as if it came from a file chooser.
_UPLOAD = """(async () => {
  const canvas = new OffscreenCanvas(300, 200);
  canvas.getContext('2d');
  const files = new DataTransfer();
  files.items.add(new File([await canvas.convertToBlob()], 'mine.png'));
  document.getElementById('file').files = files.files;
  document.getElementById('file').dispatchEvent(new Event('change'));
})()"""
_KEY = "new KeyboardEvent('keydown', {{key: '{}'}})"


def test_a_visitor_draws_asks_uploads_and_fills_on_a_phone(tmp_path):
  replies = page_server.Replies()
  with (
    page_server.serve(replies.app()) as address,
    chromium.tab(tmp_path, 500, 800) as tab,
  ):
    size = {'width': 390, 'height': 844, 'deviceScaleFactor': 1}
    tab.call('Emulation.setDeviceMetricsOverride', **size, mobile=True)
    tab.call('Page.navigate', url=address)
    tab.wait("document.body?.dataset.ready === 'yes'")

    # Draws two pictures; the model answers questions about them.
    tab.run("byId('prompt').value = 'a red ring'; byId('count').value = 2")
    tab.run("byId('draw').requestSubmit()")
    tab.wait('pictures.length === 2 && pictures[1].answers.length')
    tab.wait('pictures.every(p => p.answers.every(a => a.text))')
    assert len(replies.questions) == tab.run('pictures[0].answers.length') * 2
    assert 'self-score 1/' in tab.run("byId('strip').innerText")

    # Uploads a picture and asks.
    tab.run(_UPLOAD)
    tab.wait("selected.kind === 'Your picture'")
    tab.run("byId('question').value = 'what is it ?'")
    tab.run("byId('ask').requestSubmit()")
    tab.wait('selected.answers[0]?.text')
    assert replies.questions[-1] == 'what is it ?'

    # Marks two cells of sixteen by the keyboard, and fills them.
    tab.run("byId('mode-change').click()")
    for key in ' ', 'ArrowDown', ' ':
      tab.run(f"byId('mask').dispatchEvent({_KEY.format(key)})")
    tab.run("byId('fill-prompt').value = 'a ring'")
    tab.run("byId('fill').requestSubmit()")
    tab.wait("selected.kind === 'Changed picture'")
    side = 200 // page_server.SIDE * page_server.SIDE
    assert replies.edits == [('a ring', (side, side), 2 / 16)]

    # Nothing is wider than the screen, and an error is plain.
    assert tab.run('document.documentElement.scrollWidth') == 390
    assert tab.faults == []
    tab.run("byId('seed').value = 429; byId('draw').requestSubmit()")
    tab.wait("byId('alert').textContent.includes('busy')")
    assert not tab.run("byId('draw').querySelector('[type=submit]').disabled")
