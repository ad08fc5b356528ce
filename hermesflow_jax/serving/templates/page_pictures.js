// Pictures: thumbnails, the selected picture, questions and answers.

const MAX_SIDE = 1024;
const pictures = [];
let selected = null;

function addPictures(added) {
  pictures.unshift(...added);
  byId('empty').hidden = true;
  for (const picture of added) picture.button = thumbnail(picture);
  byId('strip').prepend(...added.map((picture) => picture.button));
  byId('strip').scrollLeft = 0;
  select(added[0]);
}

function newPicture(url, title, kind) {
  return { url, title, kind, answers: [], suggestions: values.questions.map(
    (question) => ({ question })) };
}

function thumbnail(picture) {
  const image = element('img', { src: picture.url, alt: '' });
  const button = element(
    'button', { type: 'button', className: 'thumb' }, image,
    element('span', { className: 'score' }));
  button.setAttribute('aria-label', `${picture.kind}: ${picture.title}`);
  button.onclick = () => select(picture);
  return button;
}

function select(picture) {
  selected = picture;
  for (const { button } of pictures) {
    button.setAttribute('aria-pressed', String(button === picture.button));
  }
  byId('detail').hidden = false;
  byId('picture').src = picture.url;
  byId('picture').alt = `${picture.kind}: ${picture.title}`;
  byId('title').textContent = `${picture.kind}: ${picture.title}`;
  byId('save').href = picture.url;
  byId('save').download = 'picture.png';
  byId('fill-prompt').value = picture.prompt || '';
  mask.clear();
  showAnswers();
}

// Shows the questions about the picture, or the mask over it.
function setMode(name) {
  const changes = name === 'change';
  byId('mode-ask').setAttribute('aria-pressed', String(!changes));
  byId('mode-change').setAttribute('aria-pressed', String(changes));
  byId('asking').hidden = changes;
  byId('fill').hidden = !changes;
  mask.show(changes);
}

function isRight(answer) {
  return answer.text.trim().toLowerCase() === answer.expected;
}

function showAnswers() {
  const items = selected.answers.map((answer) => {
    const item = element('li');
    item.append(element('span', {}, answer.question));
    const text = answer.error || answer.text;
    if (text === undefined) {
      item.append(element('em', {}, answer.begun ? `${answer.begun} …` : 'waiting…'));
      return item;
    }
    item.append(element(answer.error ? 'em' : 'b', {}, text || '(no words)'));
    if (answer.expected && !answer.error) {
      const right = isRight(answer);
      item.className = right ? 'right' : 'wrong';
      item.append(element(
        'small', {},
        right ? '✓ as in the prompt' : `✗ the prompt says ${answer.expected}`));
    }
    if (answer.unknown) {
      item.append(element('small', {}, unknownWords(answer.unknown)));
    }
    return item;
  });
  // Answers are read out when they are complete.
  byId('answers').setAttribute('aria-busy', String(selected.answers.some(
    (answer) => answer.text === undefined && !answer.error)));
  byId('answers').replaceChildren(...items);
  const asked = new Set(selected.answers.map((answer) => answer.question));
  const open = [
    ...selected.suggestions,
    { question: values.captionPrompt },
  ].filter(({ question }) => !asked.has(question));
  byId('suggestions').replaceChildren(
    ...open.map((suggestion) =>
      chip(suggestion.question, () => askAbout(selected, suggestion))),
  );
}

function showScore(picture) {
  const checked = picture.answers.filter(
    (answer) => answer.expected && answer.text !== undefined);
  if (!checked.length) return;
  const right = checked.filter(isRight).length;
  const score = `self-score ${right}/${checked.length}`;
  byId('score-help').hidden = false;
  picture.button.lastChild.textContent = score;
  picture.button.setAttribute(
    'aria-label', `${picture.kind}: ${picture.title}, ${score}`);
}

function chip(text, act) {
  const button = element('button', { type: 'button', className: 'chip' }, text);
  button.onclick = act;
  return button;
}

function unknownWords(words) {
  return `The model does not know ${words.map((w) => `“${w}”`).join(', ')}.`;
}

async function askAbout(picture, { question, answer: expected }) {
  const answer = { question, expected };
  picture.answers.push(answer);
  const update = () => {
    showScore(picture);
    if (picture === selected) showAnswers();
  };
  update();
  try {
    answer.text = await ask(picture.url, question, (text) => {
      answer.begun = text;
      if (picture === selected) showAnswers();
    });
    const { unknown } = await readPrompt(question);
    if (unknown.length) answer.unknown = unknown;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    answer.error = error.message;
  }
  update();
}

// Adds the pictures of a prompt; asks the model about them where that is set.
async function addDrawings(urls, prompt, kind, known) {
  const added = urls.map((url) => newPicture(url, prompt, kind));
  for (const picture of added) {
    picture.prompt = prompt;
    if (known.questions.length) picture.suggestions = known.questions;
  }
  addPictures(added);
  setMode('ask');
  if (!known.questions.length || !byId('check').checked) return;
  for (const picture of added) {
    await Promise.all(
      picture.suggestions.map((suggestion) => askAbout(picture, suggestion)));
  }
}

// Returns a file of the user as a square PNG that is not larger than needed.
async function readFile(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new ApiError(
      `${file.name} is no picture that this browser can read. ` +
        'Choose a PNG, JPEG or WebP file.');
  }
  const edge = Math.min(bitmap.width, bitmap.height);
  const times = Math.max(1, Math.floor(Math.min(edge, MAX_SIDE) / values.side));
  const side = times * values.side;
  const canvas = element('canvas', { width: side, height: side });
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = 'high';
  context.drawImage(
    bitmap,
    (bitmap.width - edge) / 2, (bitmap.height - edge) / 2, edge, edge,
    0, 0, side, side);
  bitmap.close();
  return canvas.toDataURL('image/png');
}
