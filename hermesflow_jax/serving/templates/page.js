// Connects the forms of the page with the requests.

function init() {
  mask.init();
  for (const example of values.examples) {
    byId('examples').append(chip(example, () => {
      byId('prompt').value = example;
      byId('prompt').focus();
    }));
  }
  byId('prompt').value = values.examples[0] || '';
  byId('count').addEventListener('input', () => {
    const [count, best] = [byId('count'), byId('best')];
    if (Number(best.value) < Number(count.value)) best.value = count.value;
    best.min = count.value || 1;
  });
  byId('draw').addEventListener('submit', drawPrompt);
  byId('ask').addEventListener('submit', askQuestion);
  byId('fill').addEventListener('submit', fillMask);
  const touches = navigator.maxTouchPoints > 0;
  byId('camera').hidden = byId('camera-label').hidden = !touches;
  byId('drop-help').hidden = touches;
  byId('mode-ask').addEventListener('click', () => setMode('ask'));
  byId('mode-change').addEventListener('click', () => setMode('change'));
  for (const input of [byId('file'), byId('camera')]) {
    input.addEventListener('change', () => {
      useFile(input.files[0]);
      input.value = '';
    });
  }
  const hasFile = (event) => event.dataTransfer.types.includes('Files');
  document.addEventListener('dragover', (event) => {
    if (hasFile(event)) event.preventDefault();
  });
  document.addEventListener('drop', (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    useFile(event.dataTransfer.files[0]);
  });
  document.addEventListener('paste', (event) => {
    const [file] = event.clipboardData.files;
    if (file) useFile(file);
  });
  for (const id of ['prompt', 'fill-prompt']) {
    byId(id).addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      const form = byId(id).form;
      if (!form.querySelector('[type=submit]').disabled) form.requestSubmit();
    });
  }
  // Pixels of small pictures stay sharp.
  document.body.classList.toggle('pixels', values.side < 200);
  document.body.dataset.ready = 'yes';
}

function drawPrompt(event) {
  event.preventDefault();
  const prompt = byId('prompt').value;
  const count = Number(byId('count').value);
  const request = {
    prompt,
    n: count,
    best_of: Math.max(count, Number(byId('best').value)),
    seed: Number(byId('seed').value),
  };
  const text = count > 1 ? `Drawing ${count} pictures…` : 'Drawing a picture…';
  busy(byId('draw'), byId('draw-stop'), byId('draw-waiting'), text,
    async (signal) => {
      const known = await readPrompt(prompt);
      warn(known.unknown);
      const urls = await draw(request, signal);
      addDrawings(urls, prompt, 'Drawing', known);
      if (byId('results').getBoundingClientRect().top > innerHeight / 2) {
        byId('results').scrollIntoView({ behavior: 'smooth' });
      }
    });
}

function fillMask(event) {
  event.preventDefault();
  if (!mask.marked.size) {
    showError(new ApiError('Mark a part of the picture first.'));
    byId('mask').focus();
    return;
  }
  const prompt = byId('fill-prompt').value;
  const picture = selected;
  // The user may mark another picture meanwhile.
  const cells = new Set(mask.marked);
  const seed = byId('fill-seed').value;
  busy(byId('fill'), byId('fill-stop'), byId('fill-waiting'), 'Filling…',
    async (signal) => {
      const { blob, side } = await toImage(picture.url);
      const known = await readPrompt(prompt);
      warn(known.unknown);
      const urls = await fill(
        blob, await mask.toBlob(cells, side), prompt, seed, signal);
      addDrawings(urls, prompt, 'Changed picture', known);
      byId('picture').scrollIntoView({ block: 'nearest', behavior: 'smooth' });
    });
}

// Returns a data URL as a PNG file and its side in pixels.
async function toImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const side = image.naturalWidth;
  const canvas = element('canvas', { width: side, height: side });
  canvas.getContext('2d').drawImage(image, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
  return { blob, side };
}

function askQuestion(event) {
  event.preventDefault();
  const question = byId('question').value.trim();
  if (!question) return;
  byId('question').value = '';
  showError(null);
  const suggestion = selected.suggestions.find((s) => s.question === question);
  askAbout(selected, suggestion || { question });
}

async function useFile(file) {
  if (!file) return;
  showError(null);
  try {
    addPictures([newPicture(await readFile(file), file.name, 'Your picture')]);
    byId('results').scrollIntoView({ behavior: 'smooth' });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showError(error);
  }
}

function warn(words) {
  if (words.length) showError(new ApiError(unknownWords(words)));
}

init();
