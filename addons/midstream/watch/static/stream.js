// One stream's page: what was asked, each attempt, and on one line of time first tokens, stalls, breaks, seams and resumes.
import { $, el, put, svg } from './dom.js';
import * as format from './format.js';
import { json } from './session.js';

const AGAIN = 1000; // milliseconds between two looks at a stream that runs
const LANE = 34;
const PAD = { left: 196, right: 16, top: 26, bottom: 26 };
const BROKEN = (attempt) => attempt.ended && !['complete', 'client_gone', 'interrupted'].includes(attempt.ended);

let timer = 0;
let shown = '';

export function close() {
  clearTimeout(timer);
  shown = '';
}

export async function open(id) {
  clearTimeout(timer);
  const first = shown !== id;
  shown = id;
  try {
    const data = await json(`/live/stream/${encodeURIComponent(id)}`);
    if (shown !== id) return;
    draw(data, first);
    if (data.live) timer = setTimeout(() => open(id), AGAIN);
  } catch (error) {
    if (shown !== id) return;
    $('#one').replaceChildren(back(), el('section', { class: 'card' }, el('p', { class: 'empty' }, `This stream cannot be shown: ${error.message}`)));
  }
}

const back = () => el('p', { class: 'back' }, el('a', { href: '#' }, '← All streams'));

function draw(data, first) {
  const { stream } = data;
  const state = stream.outcome || (stream.ttft_ms === null ? 'waiting' : 'streaming');
  const plot = el('div', { class: 'timeline' });
  const title = el('h1', { tabIndex: -1 }, stream.model_served || stream.model_requested || 'no model named');
  const head = el('div', { class: 'head' }, title, el('span', { class: 'chip big', 'data-kind': state }, format.OUTCOMES[state] || state));
  const top = el('section', { class: 'card' }, head, el('p', { class: 'note' }, subtitle(stream)), facts(data));
  if (stream.error) top.append(el('p', { class: 'error' }, `${stream.error_type || 'error'}: ${stream.error}`));
  const line = el('section', { class: 'card' }, el('div', { class: 'head' }, el('h2', {}, 'Timeline')), plot, legend());
  $('#one').replaceChildren(back(), top, line, attempts(data));
  timeline(plot, data);
  if (first) title.focus({ preventScroll: true });
}

function subtitle(stream) {
  const when = new Date(stream.started_at);
  const asked = stream.model_served && stream.model_served !== stream.model_requested ? `asked for as ${stream.model_requested}` : '';
  return [stream.app || 'unnamed app', stream.key && `key ${stream.key}`, stream.client && `from ${stream.client}`, stream.provider, stream.dialect,
    asked, Number.isNaN(when.getTime()) ? stream.started_at : when.toLocaleString()].filter(Boolean).join(' · ');
}

function facts({ stream, seen, now }) {
  const running = seen ? { duration_ms: Math.max(now - Date.parse(stream.started_at), 0), gap_max_ms: seen.gap_max_ms } : {};
  const source = { provider: 'the provider’s count', tiktoken: 'counted here', estimate: 'estimated' }[stream.usage_source] || '';
  const list = [
    ['First token', format.ms(stream.ttft_ms)], ['Duration', format.seconds(stream.duration_ms ?? running.duration_ms)], ['Tokens/s', format.rate(stream.tokens_per_s)],
    ['Gap p50 / p95', `${format.ms(stream.gap_p50_ms)} / ${format.ms(stream.gap_p95_ms)}`], ['Longest gap', format.ms(stream.gap_max_ms ?? running.gap_max_ms)],
    ['Tokens in', format.count(stream.input_tokens), stream.cached_tokens ? `${format.count(stream.cached_tokens)} cached` : source],
    ['Tokens out', format.count(stream.output_tokens ?? seen?.tokens), seen ? 'estimated so far' : stream.reasoning_tokens ? `${format.count(stream.reasoning_tokens)} reasoning` : source],
    ['Cost', format.usd(stream.cost_usd)], ['Delivery', stream.delivery], ['HTTP', stream.http_status ?? '–'],
    ['Finish', stream.finish_reason || '–'], ['Events', format.count(stream.chunks), stream.bytes ? `${format.count(stream.bytes)} bytes` : ''],
    ['Attempts', stream.attempts, stream.rerouted ? `${stream.rerouted} rerouted` : ''], ['Breaks', stream.breaks], ['Resumes', stream.resumes],
    ['Held back', stream.paused_ms ? format.ms(stream.paused_ms) : '–', 'for a slow client'],
  ];
  return el('dl', { class: 'facts' }, ...list.map(([name, value, more]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value ?? '–'), more ? el('small', {}, more) : null))));
}

function legend() {
  const items = [['wait', 'waiting for the first token'], ['flow', 'tokens flow'], ['first', 'first token'], ['break', 'break'], ['seam', 'seam: goes on where it broke'], ['stall', 'stall'], ['resume', 'client resumed'], ['pause', 'held back']];
  return el('ul', { class: 'legend marks' }, ...items.map(([kind, text]) => el('li', { 'data-mark': kind }, text)));
}

/** Milliseconds since the stream began: when an attempt began and ended, and when its first token came. */
function placed(data) {
  const start = Date.parse(data.stream.started_at);
  const running = Math.max(data.now - start, 1);
  const tries = data.attempts.map((attempt) => {
    const at = Math.max(Date.parse(attempt.started_at) - start, 0) || 0;
    const length = attempt.duration_ms ?? (attempt.ended ? 0 : Math.max((data.stream.duration_ms ?? running) - at, 0));
    return { ...attempt, at, end: at + length, first: attempt.ttft_ms === null || attempt.ttft_ms === undefined ? null : at + attempt.ttft_ms };
  });
  const last = Math.max(1, data.stream.duration_ms ?? running, ...tries.map((one) => one.end));
  return { tries, last };
}

function timeline(plot, data) {
  const { tries, last } = placed(data);
  const width = Math.max(plot.clientWidth, 320);
  const left = width < 600 ? 12 : PAD.left;
  const lane = width < 600 ? LANE + 16 : LANE;
  const height = PAD.top + lane * Math.max(tries.length, 1) + PAD.bottom;
  const x = (at) => left + (Math.min(Math.max(at, 0), last) / last) * (width - left - PAD.right);
  const box = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': told(tries, data.moments) });
  axis(box, last, x, height);
  tries.forEach((attempt, n) => bar(box, attempt, { x, y: PAD.top + n * lane + (lane - LANE), left, begun: tries.slice(0, n).some((one) => one.first !== null) }));
  for (const moment of data.moments) mark(box, moment, x, height);
  plot.replaceChildren(box);
}

function axis(box, last, x, height) {
  for (let i = 0; i <= 4; i++) {
    const at = (last * i) / 4;
    box.append(svg('line', { class: 'grid', x1: x(at), x2: x(at), y1: PAD.top - 8, y2: height - PAD.bottom }));
    const anchor = i === 0 ? 'start' : i === 4 ? 'end' : 'middle';
    const label = svg('text', { class: 'tick', x: x(at), y: height - 8, 'text-anchor': anchor });
    label.textContent = i === 0 ? '0' : format.ms(at);
    box.append(label);
  }
}

function bar(box, attempt, { x, y, left, begun }) {
  const top = y + 8;
  const tall = LANE - 14;
  const name = svg('text', { class: 'lane', x: left > 20 ? left - 10 : left, y: left > 20 ? top + 13 : y + 2, 'text-anchor': left > 20 ? 'end' : 'start' });
  const said = `${attempt.n}. ${attempt.provider}${attempt.model ? `/${attempt.model}` : ''}`;
  name.textContent = left > 20 && said.length > 24 ? `${said.slice(0, 23)}…` : said;
  const title = svg('title');
  title.textContent = said;
  name.append(title);
  box.append(name);
  const flows = attempt.first ?? attempt.end;
  const piece = (from, to, kind) => box.append(svg('rect', { 'data-mark': kind, x: x(from), y: top, width: Math.max(x(to) - x(from), 1.5), height: tall, rx: 3 }));
  piece(attempt.at, flows, BROKEN(attempt) && attempt.first === null ? 'lost' : 'wait');
  if (attempt.first !== null) {
    piece(attempt.first, attempt.end, 'flow');
    if (begun) box.append(svg('line', { 'data-mark': 'seam', x1: x(attempt.first), x2: x(attempt.first), y1: PAD.top - 8, y2: top + tall + 4 }));
    else box.append(svg('circle', { 'data-mark': 'first', cx: x(attempt.first), cy: top + tall / 2, r: 5 }));
  }
  if (BROKEN(attempt)) cross(box, x(attempt.end), top + tall / 2);
}

function cross(box, x, y) {
  const r = 5;
  box.append(svg('path', { 'data-mark': 'break', d: `M${x - r} ${y - r}L${x + r} ${y + r}M${x + r} ${y - r}L${x - r} ${y + r}` }));
}

function mark(box, moment, x, height) {
  const at = x(moment.at_ms);
  const title = svg('title');
  title.textContent = `${moment.kind} at ${format.ms(moment.at_ms)}${moment.lasted_ms ? `, for ${format.ms(moment.lasted_ms)}` : ''}`;
  if (moment.kind === 'resume') {
    box.append(svg('path', { 'data-mark': 'resume', d: `M${at} ${PAD.top - 4}l-5 -9h10z` }, title));
    box.append(svg('line', { 'data-mark': 'resume', x1: at, x2: at, y1: PAD.top - 4, y2: height - PAD.bottom }));
  } else {
    const wide = Math.max(x(moment.at_ms + moment.lasted_ms) - at, 2);
    box.append(svg('rect', { 'data-mark': moment.kind, x: at, y: PAD.top - 6, width: wide, height: 5, rx: 2 }, title));
  }
}

function told(tries, moments) {
  const lines = tries.map((one) => `attempt ${one.n} at ${one.provider} from ${format.ms(one.at)} to ${format.ms(one.end)}, ${one.ended || 'running'}`);
  return [...lines, ...moments.map((one) => `${one.kind} at ${format.ms(one.at_ms)}`)].join('; ') || 'nothing yet';
}

function attempts(data) {
  const cell = (text, kind = '') => el('td', { class: kind }, text);
  const rows = data.attempts.map((one) => el('tr', {},
    cell(String(one.n), 'n'), cell([one.provider, one.model].filter(Boolean).join('/'), 'name'), cell(String(one.http_status ?? '–'), 'n'), cell(format.ms(one.ttft_ms), 'n'),
    cell(format.seconds(one.duration_ms), 'n'), cell(format.count(one.output_tokens), 'n'), cell(format.usd(one.cost_usd), 'n'),
    el('td', {}, el('span', { class: 'chip', 'data-kind': BROKEN(one) ? 'failed' : one.ended || 'streaming' }, one.ended || 'running')), cell([one.error, one.next].filter(Boolean).join(' → '), 'why')));
  const moments = data.moments.map((one) => el('li', {}, el('b', {}, format.ms(one.at_ms)), ` ${{ stall: 'stalled', resume: 'the client came back', pause: 'the provider was held back' }[one.kind] || one.kind}${one.lasted_ms ? ` for ${format.ms(one.lasted_ms)}` : ''}`));
  const head = ['#', 'Target', 'HTTP', 'First token', 'Duration', 'Tokens', 'Cost', 'Ended', 'Why, and what followed'];
  return el('section', { class: 'card' }, el('div', { class: 'head' }, el('h2', {}, 'Attempts')),
    el('div', { class: 'scroll' }, el('table', {}, el('thead', {}, el('tr', {}, ...head.map((name, i) => el('th', { class: [0, 2, 3, 4, 5, 6].includes(i) ? 'n' : '' }, name)))), el('tbody', {}, ...rows))),
    moments.length ? el('ul', { class: 'moments' }, ...moments) : null);
}
