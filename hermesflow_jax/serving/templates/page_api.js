'use strict';
// Requests to the server, and its errors in plain words.

const values = JSON.parse(document.getElementById('values').textContent);
const byId = (id) => document.getElementById(id);

class ApiError extends Error {}

const ERRORS = {
  401: 'The key is missing or wrong. Write it into the field for the key.',
  413: 'This is too large for the server.',
  429: 'The server is busy. Try again in a moment.',
  503: 'The server is stopping. Start it again, then try again.',
};

// Returns the response of the server; throws its error in plain words.
async function send(path, options) {
  const headers = { ...options.headers };
  const key = byId('key');
  const secret = key ? key.value.trim() : '';
  if (secret) headers.Authorization = `Bearer ${secret}`;
  // A header cannot have other characters.
  if (/[^ -~]/.test(secret)) throw toError(401);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The server does not answer. Does it still run?');
  }
  if (response.ok) return response;
  if (response.status === 401 && key) key.focus();
  const content = await response.json().catch(() => null);
  throw toError(response.status, content && content.error);
}

function toError(status, error) {
  const refused = status < 500 && error && error.message;
  return new ApiError(
    ERRORS[status] ||
      (refused && `The server refuses this: ${error.message}.`) ||
      `The server failed (status ${status}). Its log says why.`,
  );
}

const call = async (path, options) => (await send(path, options)).json();

const toPost = (body, signal) => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
  signal,
});

const toUrls = (content) =>
  content.data.map((image) => `data:image/png;base64,${image.b64_json}`);

async function draw(request, signal) {
  return toUrls(
    await call('/v1/images/generations', toPost(request, signal)));
}

async function fill(image, mask, prompt, seed, signal) {
  const form = new FormData();
  form.append('image', image, 'image.png');
  form.append('mask', mask, 'mask.png');
  form.append('prompt', prompt);
  form.append('seed', seed);
  const options = { method: 'POST', body: form, signal };
  return toUrls(await call('/v1/images/edits', options));
}

// Returns an answer; calls `onText` with its beginning as it is written.
async function ask(url, question, onText) {
  const content = [
    { type: 'text', text: question },
    { type: 'image_url', image_url: { url } },
  ];
  const response = await send('/v1/chat/completions', toPost({
    model: values.name,
    messages: [{ role: 'user', content }],
    temperature: 0,
    stream: true,
  }));
  let text = '';
  for await (const event of events(response)) {
    if (event.error) throw toError(500, event.error);
    const [choice] = event.choices;
    text += (choice && choice.delta.content) || '';
    onText(text);
  }
  return text;
}

// Yields the events of a stream as JSON values.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const part = await reader.read().catch(() => {
      throw new ApiError('The server broke off. Does it still run?');
    });
    if (part.done) return;
    const lines = (text + part.value).split('\n');
    text = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data: {')) yield JSON.parse(line.slice(6));
    }
  }
}

// Returns the questions about a prompt, and the words the model does not know.
function readPrompt(text) {
  return call(`/page/prompt?text=${encodeURIComponent(text)}`, {});
}

function showError(error) {
  const alert = byId('alert');
  const hides = !error || error.name === 'AbortError';
  alert.hidden = hides;
  alert.textContent = hides ? '' : error.message;
}

// Runs a task with its buttons disabled, a stop button, and the time.
async function busy(form, stop, waiting, text, task) {
  const control = new AbortController();
  const button = form.querySelector('[type=submit]');
  const begin = Date.now();
  const tell = () => {
    const seconds = Math.round((Date.now() - begin) / 1000);
    const late = seconds > 5 ? '; the first request of a kind takes longer' : '';
    waiting.lastChild.textContent = seconds > 1 ? ` ${seconds} s${late}` : '';
  };
  // The time is not read out: it changes each second.
  const time = element('span', { ariaHidden: 'true' });
  waiting.replaceChildren(text, time);
  const timer = setInterval(tell, 1000);
  button.disabled = true;
  stop.hidden = false;
  stop.onclick = () => control.abort();
  form.setAttribute('aria-busy', 'true');
  showError(null);
  try {
    await task(control.signal);
  } catch (error) {
    if (!(error instanceof ApiError) && error.name !== 'AbortError') throw error;
    showError(error);
  } finally {
    clearInterval(timer);
    waiting.replaceChildren();
    button.disabled = false;
    stop.hidden = true;
    form.removeAttribute('aria-busy');
  }
}

function element(tag, fields = {}, ...children) {
  const node = Object.assign(document.createElement(tag), fields);
  node.append(...children);
  return node;
}
