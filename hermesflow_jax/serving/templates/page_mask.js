// A mask of whole image codes: the model draws a code anew or keeps it.

const mask = {
  rows: values.grid[0],
  columns: values.grid[1],
  marked: new Set(),
  cursor: 0,
  // Whether a stroke marks or clears; null between strokes.
  marks: null,
  last: null,

  init() {
    const canvas = byId('mask');
    this.canvas = canvas;
    const fine = Math.max(this.rows, this.columns) > 8;
    for (const size of fine ? [1, 3, 5] : [1]) {
      const text = size === 1 ? 'One cell' : `${size} x ${size} cells`;
      byId('brush').append(element('option', { value: size }, text));
    }
    byId('brush').value = fine ? 3 : 1;
    byId('brush').hidden = !fine;
    byId('brush').labels[0].hidden = !fine;
    canvas.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      const cell = this.cellAt(event);
      this.marks = !this.marked.has(cell);
      this.last = null;
      this.stroke(cell);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (this.marks !== null) this.stroke(this.cellAt(event));
    });
    for (const name of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(name, () => (this.marks = null));
    }
    canvas.addEventListener('keydown', (event) => this.key(event));
    canvas.addEventListener('focus', () => this.paint());
    canvas.addEventListener('blur', () => this.paint());
    byId('clear').addEventListener('click', () => this.clear());
  },

  show(visible) {
    this.canvas.hidden = !visible;
    this.paint();
  },

  clear() {
    this.marked.clear();
    this.paint();
  },

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = (offset, length, cells) =>
      Math.min(cells - 1, Math.max(0, Math.floor((offset / length) * cells)));
    const row = place(event.clientY - box.top, box.height, this.rows);
    const column = place(event.clientX - box.left, box.width, this.columns);
    return row * this.columns + column;
  },

  // Marks or clears the cells from the last place to this one.
  stroke(cell) {
    const at = (n) => [Math.floor(n / this.columns), n % this.columns];
    const [row, column] = at(cell);
    const [fromRow, fromColumn] = at(this.last ?? cell);
    const steps = Math.max(
      1, Math.abs(row - fromRow), Math.abs(column - fromColumn));
    for (let step = 0; step <= steps; step++) {
      this.dab(
        Math.round(fromRow + ((row - fromRow) * step) / steps),
        Math.round(fromColumn + ((column - fromColumn) * step) / steps),
      );
    }
    this.last = this.cursor = cell;
    this.paint();
  },

  dab(row, column) {
    const reach = (Number(byId('brush').value) - 1) / 2;
    for (let r = row - reach; r <= row + reach; r++) {
      for (let c = column - reach; c <= column + reach; c++) {
        if (r < 0 || c < 0 || r >= this.rows || c >= this.columns) continue;
        if (this.marks) this.marked.add(r * this.columns + c);
        else this.marked.delete(r * this.columns + c);
      }
    }
  },

  key(event) {
    const moves = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
    };
    let row = Math.floor(this.cursor / this.columns);
    let column = this.cursor % this.columns;
    if (event.key === ' ' || event.key === 'Enter') {
      this.marks = !this.marked.has(this.cursor);
      this.dab(row, column);
      this.marks = null;
    } else if (event.key in moves) {
      const [down, right] = moves[event.key];
      row = Math.min(this.rows - 1, Math.max(0, row + down));
      column = Math.min(this.columns - 1, Math.max(0, column + right));
      this.cursor = row * this.columns + column;
    } else {
      return;
    }
    event.preventDefault();
    const state = this.marked.has(this.cursor) ? 'marked' : 'kept';
    byId('fill-waiting').textContent =
      `Row ${row + 1}, column ${column + 1}: ${state}`;
    this.paint();
  },

  paint() {
    const canvas = this.canvas;
    if (canvas.hidden) return;
    const size = 512;
    canvas.width = canvas.height = size;
    const context = canvas.getContext('2d');
    const [h, w] = [size / this.rows, size / this.columns];
    const box = (n) => [(n % this.columns) * w, Math.floor(n / this.columns) * h];
    context.fillStyle = 'rgba(37, 99, 173, .62)';
    // A white edge shows on pictures in the color of the mask.
    context.strokeStyle = 'rgba(255, 255, 255, .8)';
    context.lineWidth = 2;
    for (const n of this.marked) {
      const [x, y] = box(n);
      context.fillRect(x, y, w, h);
      context.strokeRect(x + 1, y + 1, w - 2, h - 2);
    }
    context.strokeStyle = 'rgba(90, 100, 112, .35)';
    context.lineWidth = 1;
    context.beginPath();
    for (let n = 1; n < this.columns; n++) {
      context.moveTo(n * w, 0);
      context.lineTo(n * w, size);
    }
    for (let n = 1; n < this.rows; n++) {
      context.moveTo(0, n * h);
      context.lineTo(size, n * h);
    }
    context.stroke();
    if (canvas.matches(':focus-visible')) {
      const [x, y] = box(this.cursor);
      context.lineWidth = 4;
      context.strokeStyle = '#fff';
      context.strokeRect(x + 2, y + 2, w - 4, h - 4);
      context.lineWidth = 2;
      context.strokeStyle = '#1c1e21';
      context.strokeRect(x + 2, y + 2, w - 4, h - 4);
    }
  },

  // Returns a PNG file as large as the picture, transparent in some cells.
  toBlob(cells, side) {
    const canvas = element('canvas', { width: side, height: side });
    const context = canvas.getContext('2d');
    context.fillRect(0, 0, side, side);
    const edge = (n, count) => Math.round((n * side) / count);
    for (const n of cells) {
      const row = Math.floor(n / this.columns);
      const column = n % this.columns;
      const [x, y] = [edge(column, this.columns), edge(row, this.rows)];
      context.clearRect(
        x,
        y,
        edge(column + 1, this.columns) - x,
        edge(row + 1, this.rows) - y,
      );
    }
    return new Promise((done) => canvas.toBlob(done, 'image/png'));
  },
};
