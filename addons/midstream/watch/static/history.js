// The last minutes, hours and days: charts, the tiles that sum them up, models and targets.
import { $, el, put } from './dom.js';
import { Chart } from './charts.js';
import * as format from './format.js';
import { json } from './session.js';
import { onBreakers } from './streams.js';

const SPANS = [['15m', '15 min'], ['1h', '1 h'], ['6h', '6 h'], ['24h', '24 h'], ['7d', '7 d'], ['30d', '30 d']];
const SOON = 10000; // milliseconds between two looks at a short span
const LATER = 60000;

let span = '1h';
let timer = 0;
let breakers = [];
let asked = [];
let lastly = null;

const of = (name, quantile) => (bucket) => bucket[name]?.[quantile] ?? null;
const each = (name) => (bucket) => bucket[name];
const sum = (data, name) => data.buckets.reduce((total, bucket) => total + (bucket[name] || 0), 0);
const newest = (data, name, quantile) => data.buckets.findLast((bucket) => bucket[name])?.[name][quantile] ?? null;
const bad = (data) => sum(data, 'failed') + sum(data, 'truncated') + sum(data, 'interrupted');

const CHARTS = [
  new Chart({
    title: 'Time to first token', format: format.ms, headline: (data) => `p50 ${format.ms(newest(data, 'ttft', 'p50'))}`,
    series: [{ name: 'p50', tone: 'a', of: of('ttft', 'p50') }, { name: 'p95', tone: 'b', of: of('ttft', 'p95') }, { name: 'p99', tone: 'c', of: of('ttft', 'p99') }],
  }),
  new Chart({
    title: 'Inter-token latency', hint: 'Of the streams’ own percentiles: the median of their medians, the 95th of their 95ths',
    format: format.ms, headline: (data) => `p50 ${format.ms(newest(data, 'gap', 'p50'))}`,
    series: [{ name: 'p50', tone: 'a', of: of('gap', 'p50') }, { name: 'p95', tone: 'b', of: of('gap_tail', 'p95') }],
  }),
  new Chart({
    title: 'Throughput', hint: 'Of a stream: its tokens per second, first content to last', format: format.rate,
    headline: (data) => `${format.rate(newest(data, 'rate', 'p50'))} tokens/s a stream`,
    series: [{ name: 'tokens/s of a stream, p50', tone: 'a', of: of('rate', 'p50') }, { name: 'all together', tone: 'd', of: (bucket, step) => (bucket.streams ? bucket.output_tokens / step : null) }],
  }),
  new Chart({
    title: 'Tokens', format: format.count, stacked: true,
    headline: (data) => `${format.count(sum(data, 'input_tokens'))} in, ${format.count(sum(data, 'output_tokens'))} out`,
    series: [{ name: 'output', tone: 'a', of: each('output_tokens') }, { name: 'input', tone: 'd', of: (bucket) => bucket.input_tokens - bucket.cached_tokens }, { name: 'input, cached', tone: 'e', of: each('cached_tokens') }],
  }),
  new Chart({
    title: 'Cost', format: format.usd, tick: (value) => `$${Number(value.toPrecision(3))}`, stacked: true, headline: (data) => format.usd(sum(data, 'cost_usd')),
    series: [{ name: 'US dollars', tone: 'a', of: each('cost_usd') }],
  }),
  new Chart({
    title: 'Errors', format: format.count, stacked: true, headline: (data) => `${format.percent(bad(data), sum(data, 'streams'))} of ${format.plural(sum(data, 'streams'), 'stream')}`,
    series: [{ name: 'failed', tone: 'bad', of: each('failed') }, { name: 'truncated', tone: 'warn', of: each('truncated') }, { name: 'interrupted', tone: 'e', of: each('interrupted') }, { name: 'healed', tone: 'good', of: each('healed') }],
  }),
];

export function start() {
  $('#charts').append(...CHARTS.map((chart) => chart.node));
  SPANS.forEach(([name, label], i) => {
    const button = el('button', { type: 'button', 'data-span': name, 'aria-pressed': String(name === span), title: `Key ${i + 1}` }, label);
    button.addEventListener('click', () => choose(i));
    $('#spans').append(button);
  });
  onBreakers.add((told) => { breakers = told; targets(); });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
}

export function choose(i) {
  span = SPANS[i][0];
  for (const button of $('#spans').children) button.setAttribute('aria-pressed', String(button.dataset.span === span));
  look();
}

/** Ask now, and again after a while. */
export async function look() {
  clearTimeout(timer);
  const wanted = span;
  try {
    const data = await json(`/live/history?span=${wanted}`);
    if (wanted === span) show(data);
  } catch (error) {
    put($('#targets-note'), `No history: ${error.message}`);
  }
  clearTimeout(timer);
  timer = setTimeout(() => { if (!document.hidden) look(); }, ['15m', '1h'].includes(span) ? SOON : LATER);
}

function show(data) {
  lastly = data;
  for (const chart of CHARTS) chart.show(data);
  asked = data.targets;
  tiles(data);
  models(data.models);
  targets();
  $('#charts').dataset.shown = data.span;
}

const latest = (step) => (step < 60 ? `${step} s` : step < 3600 ? `${step / 60} min` : step < 86400 ? `${step / 3600} h` : 'day');

function tiles(data) {
  const during = `last ${SPANS.find(([name]) => name === data.span)[1]}`;
  const streams = sum(data, 'streams');
  const ttft = newest(data, 'ttft', 'p50');
  put($('#tile-ttft'), format.ms(ttft));
  put($('#tile-ttft-more'), ttft === null ? during : `p95 ${format.ms(newest(data, 'ttft', 'p95'))} · ${latest(data.step)}`);
  put($('#tile-streams'), format.count(streams));
  put($('#tile-streams-more'), during);
  put($('#tile-failed'), format.percent(bad(data), streams));
  const healed = sum(data, 'healed');
  put($('#tile-failed-more'), healed ? `${format.count(healed)} healed` : during);
  put($('#tile-cost'), format.usd(sum(data, 'cost_usd')));
  put($('#tile-cost-more'), `${format.count(sum(data, 'output_tokens'))} tokens out`);
}

function models(list) {
  const cell = (text, kind = 'n') => el('td', { class: kind }, text);
  $('#models').hidden = !list.length;
  $('#models tbody').replaceChildren(...list.map((row) => el('tr', {},
    cell(row.model || 'no model named', 'name'), cell(format.count(row.streams)), cell(format.ms(row.ttft_p50_ms)), cell(format.ms(row.ttft_p95_ms)),
    cell(format.rate(row.tokens_per_s_p50)), cell(format.ms(row.gap_p95_ms)),
    cell(format.percent(row.failed + row.truncated + row.interrupted, row.streams)),
    cell(`${format.count(row.input_tokens)} / ${format.count(row.output_tokens)}`), cell(format.usd(row.cost_usd)))));
  $('#ask-models').replaceChildren(...list.map((row) => el('option', { value: row.model })));
}

const STATES = { closed: 'healthy', open: 'open: not asked', half_open: 'half open: one probe' };

function targets() {
  const named = (row) => `${row.provider}\n${row.model || ''}`;
  const all = new Map(asked.map((row) => [named(row), { ...row }]));
  for (const row of breakers) all.set(named(row), { attempts: 0, failed: 0, ...all.get(named(row)), ...row });
  const during = SPANS.find(([name]) => name === span)[1];
  put($('#targets-note'), lastly ? `attempts of the last ${during}` : '');
  $('#targets').hidden = !all.size;
  $('#target-list').replaceChildren(...[...all.values()].map((row) => el('div', { class: 'target', 'data-breaker': row.breaker || 'unknown' },
    el('p', {}, el('i', { class: 'dot' }), el('b', {}, row.provider), el('span', {}, row.model || '')),
    el('p', { class: 'state' }, STATES[row.breaker] || 'not asked lately'),
    el('dl', {},
      el('div', {}, el('dt', {}, 'Attempts'), el('dd', {}, format.count(row.attempts))),
      el('div', {}, el('dt', {}, 'Failed'), el('dd', { class: row.failed ? 'bad' : '' }, format.percent(row.failed, row.attempts))),
      el('div', {}, el('dt', {}, 'First token'), el('dd', {}, format.ms(row.ttft_ms)))))));
}
