// Numbers as people read them.

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);
const group = new Intl.NumberFormat('en-US');

export function ms(value) {
  if (!known(value)) return '–';
  if (value < 1) return '<1 ms';
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 10000) return `${(value / 1000).toFixed(2)} s`;
  return seconds(value);
}

export function seconds(value) {
  if (!known(value)) return '–';
  const s = value / 1000;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(Math.floor(s % 60)).padStart(2, '0')} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} m`;
}

export function count(value) {
  if (!known(value)) return '–';
  if (value < 10000) return group.format(Math.round(value));
  if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)} k`;
  return `${(value / 1e6).toFixed(value < 1e8 ? 1 : 0)} M`;
}

export function rate(value) {
  if (!known(value)) return '–';
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

export function usd(value) {
  if (!known(value)) return '–';
  if (value === 0) return '$0';
  if (value < 0.01) return `$${value.toPrecision(2)}`;
  return value < 1000 ? `$${value.toFixed(2)}` : `$${count(value)}`;
}

export function percent(part, whole) {
  if (!whole) return '–';
  const value = (100 * part) / whole;
  return value === 0 ? '0 %' : value < 10 ? `${value.toFixed(1)} %` : `${Math.round(value)} %`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export const OUTCOMES = {
  complete: 'complete',
  client_gone: 'client left',
  truncated: 'truncated',
  failed: 'failed',
  interrupted: 'interrupted',
  waiting: 'waiting',
  streaming: 'streaming',
  stalled: 'stalled',
  mending: 'mending',
};
