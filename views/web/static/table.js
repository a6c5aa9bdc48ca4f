// The table of sensors. Rows are made once and their cells changed where a value did, at most once a frame.

import * as format from './format.js';

// More rows than anybody reads; the filter finds the rest.
const rowsMax = 500;

const collator = new Intl.Collator(undefined, { numeric: true });

// Speeds by which a row is told at a glance: PeMS takes 40 mph for congestion and 60 for free flow.
const congestedBelow = 40;
const freeFrom = 60;

export class Table {
  #entries = new Map(); // by sensor_id: {sensor, window, row, cells}
  hasUnknown = false; // a window came of a sensor whose metadata has not
  #order = null; // ids as shown, or null when they must be found again
  #filter = '';
  #pending = false;

  constructor(table, shown, now) {
    this.table = table;
    this.body = table.tBodies[0];
    this.shown = shown;
    this.now = now;
  }

  get size() {
    return this.#entries.size;
  }

  replace(sensors, windows) {
    this.#entries.clear();
    this.hasUnknown = false;
    for (const sensor of sensors) this.#entries.set(sensor.sensor_id, { sensor, window: null });
    for (const window of windows) this.#show(window);
    this.#reorder();
  }

  // The sensors read again: a verdict on a detector changes with its windows, without an event of its own.
  update(sensors) {
    const known = new Map(sensors.map((sensor) => [sensor.sensor_id, sensor]));
    for (const [id, entry] of this.#entries) {
      if (known.has(id)) entry.sensor = newer(known.get(id), entry.sensor);
      else this.#entries.delete(id);
      known.delete(id);
    }
    for (const [id, sensor] of known) this.#entries.set(id, { sensor, window: null });
    this.hasUnknown = false;
    this.#reorder();
  }

  // A changed window. Late readings change earlier ones, which are not on the page.
  window(window) {
    const entry = this.#show(window);
    entry.sensor.watermark = later(window.watermark, entry.sensor.watermark);
    this.#draw();
  }

  #show(window) {
    let entry = this.#entries.get(window.sensor_id);
    if (!entry) {
      entry = { sensor: { sensor_id: window.sensor_id, watermark: null, silent: false, health: null }, window: null };
      this.#entries.set(window.sensor_id, entry);
      this.hasUnknown = true;
      this.#order = null;
    }
    if (!entry.window || Date.parse(window.window_start) >= Date.parse(entry.window.window_start)) {
      entry.window = window;
    }
    return entry;
  }

  sensor(sensor) {
    const entry = this.#entries.get(sensor.sensor_id);
    if (entry) entry.sensor = newer(sensor, entry.sensor);
    else this.#entries.set(sensor.sensor_id, { sensor, window: null });
    this.#reorder();
  }

  remove(id) {
    this.#entries.delete(id);
    this.#reorder();
  }

  filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#reorder();
  }

  refresh() {
    this.#draw();
  }

  #reorder() {
    this.#order = null;
    this.#draw();
  }

  #draw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      if (!this.#order) this.#arrange();
      for (const id of this.#order) this.#fill(this.#entries.get(id));
    });
  }

  #arrange() {
    const words = this.#filter.split(/\s+/).filter(Boolean);
    const found = [...this.#entries.values()].filter((e) => words.every((word) => searchable(e).includes(word)));
    found.sort((a, b) => collator.compare(a.sensor.sensor_id, b.sensor.sensor_id));
    const visible = found.slice(0, rowsMax);
    this.#order = visible.map((e) => e.sensor.sensor_id);
    this.body.replaceChildren(...visible.map((e) => this.#row(e)));
    const total = this.#entries.size;
    this.shown.value =
      visible.length < found.length
        ? `the first ${format.count(visible.length)} of ${format.count(found.length)}`
        : `${found.length ? format.count(found.length) : 'none'} of ${format.count(total)}`;
  }

  #row(entry) {
    if (!entry.row) {
      entry.row = document.createElement('tr');
      entry.cells = Object.fromEntries(columns.map(({ name, tag = 'td', kind = '' }) => {
        const cell = document.createElement(tag);
        if (tag === 'th') cell.scope = 'row';
        cell.className = kind;
        entry.row.append(cell);
        return [name, cell];
      }));
    }
    return entry.row;
  }

  #fill(entry) {
    const now = this.now();
    for (const { name, value } of columns) {
      const { text, title = '', state = text === format.missing ? 'missing' : '' } = value(entry, now);
      const cell = entry.cells[name];
      if (cell.textContent !== text) cell.textContent = text;
      if (cell.title !== title) cell.title = title;
      if ((cell.dataset.state ?? '') !== state) cell.dataset.state = state;
    }
  }
}

// Of two times the later, by value: their texts have milliseconds only where there are any, and so do not compare.
function later(a, b) {
  if (!a || !b) return a ?? b;
  return Date.parse(a) >= Date.parse(b) ? a : b;
}

// A sensor as just read, but for a watermark that the stream has carried further since.
function newer(read, had) {
  return { ...read, watermark: later(had.watermark, read.watermark) };
}

function state({ sensor }) {
  if (sensor.silent) return 'silent';
  return sensor.health?.status ?? format.missing;
}

const words = (name) => name.replaceAll('_', ' ');

function searchable(entry) {
  const { sensor, window } = entry;
  return [sensor.sensor_id, sensor.freeway, sensor.direction, words(state(entry)),
    ...Object.keys(window?.flag_counts ?? {}).map(words)].join(' ').toLowerCase();
}

function speed({ window }) {
  const v = window?.avg_speed ?? null;
  if (v === null) return { text: format.missing };
  return {
    text: format.decimal(v),
    state: v < congestedBelow ? 'congested' : v < freeFrom ? 'slow' : 'free',
    title: `${format.decimal(window.min_speed)} to ${format.decimal(window.max_speed)} mph`,
  };
}

function flags({ window }) {
  const counts = Object.entries(window?.flag_counts ?? {});
  return { text: counts.map(([name, n]) => `${words(name)} ${format.count(n)}`).join(', ') || format.missing };
}

// What each column shows, in the order of the table's head.
const columns = [
  { name: 'sensor', tag: 'th', value: (e) => ({
    text: e.sensor.sensor_id,
    title: [e.sensor.freeway, e.sensor.direction].filter(Boolean).join(' '),
  }) },
  { name: 'freeway', kind: 'wide', value: (e) => ({ text: format.text(e.sensor.freeway) }) },
  { name: 'direction', kind: 'wide', value: (e) => ({ text: format.text(e.sensor.direction) }) },
  { name: 'state', kind: 'health', value: (e) => ({
    text: words(state(e)),
    state: state(e),
    title: (e.sensor.health?.reasons ?? []).map(words).join(', '),
  }) },
  { name: 'speed', kind: 'number speed', value: speed },
  { name: 'volume', kind: 'number', value: (e) => ({ text: format.count(e.window?.avg_volume) }) },
  { name: 'occupancy', kind: 'number', value: (e) => ({ text: format.decimal(e.window?.avg_occupancy) }) },
  { name: 'readings', kind: 'number', value: ({ window }) => ({
    text: window ? `${format.count(window.message_count)} / ${format.count(window.expected_count)}` : format.missing,
  }) },
  { name: 'completeness', kind: 'wide number', value: (e) => ({ text: format.percent(e.window?.completeness) }) },
  { name: 'window', kind: 'time', value: ({ window }, now) => ({
    text: format.time(window?.window_start, now),
    title: window ? `${window.window_start} to ${window.window_end} (UTC), revision ${window.revision}` : '',
  }) },
  { name: 'behind', kind: 'number', value: ({ sensor }, now) => ({
    text: format.duration(sensor.watermark ? now - Date.parse(sensor.watermark) : NaN),
    title: sensor.watermark ? `watermark ${sensor.watermark} (UTC)` : '',
  }) },
  { name: 'flags', kind: 'flags', value: flags },
];
