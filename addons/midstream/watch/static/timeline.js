// A stream on one line of time: its attempts, first tokens, breaks and seams, and above them stalls, resumes and times held back.
import { el, svg } from './dom.js';
import * as format from './format.js';

const LANE = 34;
const PAD = { left: 196, right: 18, top: 30, bottom: 26 };
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 18e5, 36e5];
export const broken = (attempt) => attempt.ended && !['complete', 'client_gone', 'interrupted'].includes(attempt.ended);

export function legend() {
  const items = [['wait', 'waiting'], ['flow', 'tokens flow'], ['first', 'first token'], ['break', 'break'], ['seam', 'seam: goes on from there'], ['stall', 'stall'], ['resume', 'client came back'], ['pause', 'held back']];
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

export function timeline(plot, data) {
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

/** A line at every round time, six or fewer. */
function axis(box, last, x, height) {
  const step = STEPS.find((one) => last / one <= 6) ?? last / 4;
  for (let at = 0; at <= last; at += step) {
    box.append(svg('line', { class: 'grid', x1: x(at), x2: x(at), y1: PAD.top - 12, y2: height - PAD.bottom }));
    const label = svg('text', { class: 'tick', x: x(at), y: height - 8, 'text-anchor': at === 0 ? 'start' : x(at) > x(last) - 16 ? 'end' : 'middle' });
    label.textContent = at === 0 ? '0' : format.ms(at).replace(/\.0+(?= s)/, '').replace(/(\.\d)0(?= s)/, '$1');
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
  piece(attempt.at, flows, broken(attempt) && attempt.first === null ? 'lost' : 'wait');
  if (attempt.first !== null) {
    piece(attempt.first, attempt.end, 'flow');
    if (begun) box.append(svg('line', { 'data-mark': 'seam', x1: x(attempt.first), x2: x(attempt.first), y1: PAD.top - 8, y2: top + tall + 4 }));
    else box.append(svg('circle', { 'data-mark': 'first', cx: x(attempt.first), cy: top + tall / 2, r: 5 }));
  }
  if (broken(attempt)) cross(box, x(attempt.end), top + tall / 2);
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

