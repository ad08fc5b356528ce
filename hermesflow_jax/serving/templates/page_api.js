'use strict';
// Requests to the server, and its errors in plain words.

const values = JSON.parse(document.getElementById('values').textContent);
const byId = (id) => document.getElementById(id);

class ApiError extends Error {}

const ERRORS = {
  401: 'The key is missing or wrong. Write the key of the server above.',
  413: 'This is too large for the server.',
  429: 'The server is busy. Try again in a moment.',
  503: 'The server is stopping. Start it again, then try again.',
};

async function call(path, options) {
  const headers = { ...options.headers };
  const key = byId('key');
  if (key && key.value) headers.Authorization = `Bearer ${key.value}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The server does not answer. Does it still run?');
  }
  let content = null;
  try {
    content = await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
  }
  if (response.ok && content) return content;
  if (response.status === 401 && key) key.focus();
  const message = content && content.error && content.error.message;
  throw new ApiError(
    ERRORS[response.status] ||
      (message && `The server refuses this: ${message}.`) ||
      `The server failed (status ${response.status}). Its log says why.`,
  );
}

function post(path, body, signal) {
  return call(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
}

const toUrls = (content) =>
  content.data.map((image) => `data:image/png;base64,${image.b64_json}`);

async function draw(request, signal) {
  return toUrls(await post('/v1/images/generations', request, signal));
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

async function ask(url, question) {
  const content = [
    { type: 'text', text: question },
    { type: 'image_url', image_url: { url } },
  ];
  const reply = await post('/v1/chat/completions', {
    model: values.name,
    messages: [{ role: 'user', content }],
    temperature: 0,
  });
  return reply.choices[0].message.content;
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
  if (!hides) alert.scrollIntoView({ block: 'nearest' });
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
