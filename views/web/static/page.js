// The live page: loads the sensors, follows the stream, and shows how the pipeline fares.

import * as api from './api.js';
import * as format from './format.js';
import { Table } from './table.js';

const pollEvery = 2_000;
const sensorsEvery = 60_000;

const $ = (id) => document.getElementById(id);
const now = () => Date.now() + api.clockOffset;
const table = new Table($('sensors'), $('shown'), now);

let loaded = false;
let sensorsRead = 0;
let waiting = false; // for a token

function show(state, text) {
  $('state').dataset.state = state;
  if ($('state').textContent !== text) $('state').textContent = text;
}

function message(text, isError = false) {
  $('message').textContent = text;
  $('message').hidden = !text;
  $('message').classList.toggle('error', isError);
  $('sensors').hidden = $('tools').hidden = !loaded || table.size === 0;
}

async function load() {
  loaded = false;
  const [sensors, windows] = await Promise.all([
    api.all('/api/v1/sensors', 'sensors'),
    api.all('/api/v1/windows/current', 'windows'),
  ]);
  table.replace(sensors, windows);
  sensorsRead = Date.now();
  loaded = true;
  settled();
}

async function readSensors() {
  sensorsRead = Date.now();
  const sensors = await api.all('/api/v1/sensors', 'sensors');
  if (loaded) table.update(sensors);
}

function settled() {
  message(table.size ? '' : 'No sensor is known yet. Load their metadata with: gantry sensors load FILE.csv');
}

// The stream opens before the lists are read, and its events wait until they are: nothing falls between the two, and an
// event that the lists already hold changes nothing.
const handler = {
  loaded: () => loaded,
  async opened(resumed) {
    if (!resumed || !loaded) await load();
    show('live', 'Live');
  },
  async event(name, value) {
    if (name === 'reset') await load();
    if (name === 'window') table.window(value);
    if (name === 'sensor') table.sensor(value);
    if (name === 'removed') table.remove(value.sensor_id);
    if (loaded && $('sensors').hidden !== (table.size === 0)) settled();
  },
  failed(error) {
    const recovering = error instanceof api.Answer && error.status === 503;
    if (error instanceof api.Answer && error.status === 401) {
      waiting = true;
      loaded = false;
      show('offline', 'Locked');
      $('login').hidden = false;
      message('');
      $('token').focus();
    } else if (recovering && error.body?.roles) {
      recovery(error.body);
      if (!loaded) message('Recovering: the table appears when it is complete.');
    } else {
      show('offline', 'Reconnecting…');
      if (!loaded) message(`Cannot load the sensors: ${error.message}`, true);
    }
  },
};

const percentDone = (role) => format.percent(role.progress);

function recovery({ ready, roles }) {
  const section = $('recovery');
  section.hidden = ready;
  if (ready) return;
  const serve = roles.find((role) => role.role === 'serve');
  if (serve && !serve.ready) show('recovering', `Recovering ${percentDone(serve)}`);
  section.replaceChildren(...roles.filter((role) => !role.ready).map((role) => {
    const label = document.createElement('label');
    const bar = document.createElement('progress');
    bar.max = 1;
    bar.value = role.progress;
    label.append(Object.assign(document.createElement('span'), { textContent: role.role }), bar, percentDone(role));
    return label;
  }));
}

function pipeline(counts) {
  const sum = (byName) => Object.values(byName).reduce((a, b) => a + b, 0);
  const values = {
    read: counts.read,
    accepted: counts.accepted,
    rejected: sum(counts.rejected),
    windows: sum(counts.windows_published),
    lag: counts.lag,
  };
  for (const cell of document.querySelectorAll('[data-count]')) {
    cell.textContent = format.count(values[cell.dataset.count]);
  }
  const reasons = Object.entries(counts.rejected).sort((a, b) => b[1] - a[1]);
  $('reasons').hidden = reasons.length === 0;
  $('reasons').querySelector('ul').replaceChildren(...reasons.map(([reason, n]) => {
    const item = document.createElement('li');
    item.textContent = `${reason.replaceAll('_', ' ')} ${format.count(n)}`;
    return item;
  }));
  $('pipeline').hidden = false;
}

// Readiness and counts are small and asked for; windows come by themselves.
async function poll() {
  if (!document.hidden && !waiting) {
    await api.readiness().then(recovery).catch(() => {}); // the stream tells when the server is away
    if (loaded && (table.hasUnknown || Date.now() - sensorsRead > sensorsEvery)) await readSensors().catch(() => {});
    await api.get('/api/v1/pipeline').then(pipeline).catch(() => { $('pipeline').hidden = true; });
  }
  setTimeout(poll, pollEvery);
}

$('filter').addEventListener('input', (e) => table.filter(e.target.value));
$('login').addEventListener('submit', (e) => {
  e.preventDefault();
  api.useToken($('token').value);
  $('token').value = '';
  $('login').hidden = true;
  waiting = false;
  message('Loading…');
  api.follow(handler);
});

setInterval(() => table.refresh(), 1_000);
api.follow(handler);
poll();
