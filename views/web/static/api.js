// Talks to the server: JSON requests, whole lists, and the stream of changes.

const tokenKey = 'gantry-token';

export class Answer extends Error {
  constructor(status, body) {
    super(body?.detail ?? `the server answered ${status}`);
    this.status = status;
    this.body = body;
  }
}

export function useToken(token) {
  sessionStorage.setItem(tokenKey, token);
}

function headers(extra = {}) {
  const token = sessionStorage.getItem(tokenKey);
  return token ? { Authorization: `Bearer ${token}`, ...extra } : extra;
}

// The server's clock minus ours, so that "behind" is right on a machine whose clock is not.
export let clockOffset = 0;

async function request(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers) });
  const date = Date.parse(answer.headers.get('Date') ?? '');
  if (Number.isFinite(date)) {
    const offset = date - Date.now();
    clockOffset = Math.abs(offset) < 2000 ? 0 : offset; // the header is cut to seconds
  }
  if (!answer.ok) throw new Answer(answer.status, await answer.json().catch(() => null));
  return answer;
}

export async function get(path) {
  return (await request(path)).json();
}

// Readiness has its answer in the body whether ready or not.
export async function readiness() {
  try {
    return await get('/readyz');
  } catch (e) {
    if (e instanceof Answer && e.body?.roles) return e.body;
    throw e;
  }
}

// Every element of a list, page by page.
export async function all(path, member) {
  const items = [];
  let cursor = '';
  do {
    const page = await get(`${path}?limit=1000${cursor && `&cursor=${cursor}`}`);
    items.push(...page[member]);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}

// The events of one connection: {name, data, id}. EventSource would do, but cannot carry a token.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: '', data: '', id: '' };
      for (const line of block.split('\n')) {
        if (line.startsWith('event: ')) event.name = line.slice(7);
        if (line.startsWith('data: ')) event.data += line.slice(6);
        if (line.startsWith('id: ')) event.id = line.slice(4);
      }
      yield event;
    }
  }
}

// A connection that says nothing for three heartbeats is dead, whatever the network thinks.
const silenceMax = 45_000;
const retryMin = 1_000;
const retryMax = 15_000;

// Follows the stream for ever. handler.opened(resumed) is called at each connection, before its events; event(name,
// value) for each event; failed(error) when a connection ends or cannot be made.
export async function follow(handler) {
  let lastID = '';
  let wait = retryMin;
  for (;;) {
    const abort = new AbortController();
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(new Error('the stream went quiet')), silenceMax);
    };
    try {
      alive();
      const answer = await request('/api/v1/stream', {
        headers: lastID ? { 'Last-Event-ID': lastID } : {},
        signal: abort.signal,
      });
      await handler.opened(lastID !== '');
      wait = retryMin;
      for await (const event of events(answer.body)) {
        alive();
        if (event.data) await handler.event(event.name, JSON.parse(event.data));
        if (event.id) lastID = event.id;
      }
      handler.failed(new Error('the server closed the stream'));
    } catch (e) {
      // A load that failed after the stream had opened leaves the table incomplete: begin again, without an id.
      if (!handler.loaded()) lastID = '';
      handler.failed(e);
      if (e instanceof Answer && e.status === 401) return;
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, retryMax);
  }
}
