// How values read on the page. A missing value is a dash, never 0.

export const missing = '—';

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });

const present = (v) => v !== null && v !== undefined;

export const count = (v) => (present(v) ? whole.format(v) : missing);
export const decimal = (v) => (present(v) ? tenth.format(v) : missing);
export const percent = (share) => (present(share) ? `${Math.floor(share * 100)} %` : missing);
export const text = (v) => (present(v) && v !== '' ? v : missing);

// Local time, with the day where it is not today.
export function time(iso, now) {
  if (!present(iso)) return missing;
  const t = new Date(iso);
  const at = clock.format(t);
  return t.toDateString() === new Date(now).toDateString() ? at : `${day.format(t)}, ${at}`;
}

// A length of time in its largest whole unit. Event time can be ahead of the clock.
export function duration(ms) {
  if (!Number.isFinite(ms)) return missing;
  const sign = ms < 0 ? '−' : '';
  const s = Math.floor(Math.abs(ms) / 1000);
  if (s < 120) return `${sign}${s} s`;
  if (s < 2 * 3600) return `${sign}${Math.floor(s / 60)} min`;
  if (s < 2 * 86400) return `${sign}${Math.floor(s / 3600)} h`;
  return `${sign}${whole.format(Math.floor(s / 86400))} d`;
}
