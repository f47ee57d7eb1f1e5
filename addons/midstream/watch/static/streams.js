// The list of streams: fed by the gateway's events, drawn a frame at a time, only what changed.
import { $, el, put, spark } from './dom.js';
import * as format from './format.js';

const SAMPLES = 80;
const EVERY = 500; // milliseconds of a sample
const ENDED = 40;
const RATE = 6; // samples that a rate is the mean of
const PAUSED = 100; // milliseconds held back that are worth a word
const CALM = 40; // samples that the list keeps its height after it was longer
const FEW = 6; // ended streams shown unasked
const SPARKS = 40; // sparklines drawn in one frame

/** Rows that are out of sight are not drawn: of hundreds a screen shows a dozen. */
const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const row = owners.get(target);
    if (!row) continue;
    row.seen = isIntersecting;
    if (!isIntersecting) continue;
    dirty.add(row);
    if (!row.over) sparks.add(row);
  }
  draw();
}, { rootMargin: '200px' });
const owners = new WeakMap();
const rows = new Map();
const ended = [];
const dirty = new Set();
const sparks = new Set();
const total = [];
let flying = 0;
let skew = 0; // our clock, less the gateway's
let drawing = false;
let words = [];
let content = false;
let frozen = 0; // when the connection was lost
let heights = [];
let tallest = 0;
export const now = () => (frozen || Date.now()) - skew;
export const shows = () => content;
export const onBreakers = new Set();

class Row {
  constructor(facts) {
    this.facts = {};
    this.samples = facts.samples ? [...facts.samples] : [];
    this.last = facts.tokens || 0;
    this.node = $('#row-template').content.firstElementChild.cloneNode(true);
    const cell = (name) => $(`.c-${name}`, this.node);
    this.dot = $('.dot', this.node);
    this.link = $('a', this.node);
    this.app = $('.c-model small', this.node);
    this.provider = $('.c-provider b', this.node);
    this.delivery = $('.c-provider small', this.node);
    this.canvas = $('canvas', this.node);
    this.cells = Object.fromEntries(['ttft', 'tokens', 'rate', 'gap', 'paused', 'notes', 'time'].map((n) => [n, cell(n)]));
    owners.set(this.node, this);
    sight.observe(this.node);
    this.take(facts);
    this.draw();
  }

  take(facts) {
    Object.assign(this.facts, facts);
    this.words = [this.facts.model, this.facts.asked, this.facts.app, this.facts.provider, this.facts.delivery, this.facts.key]
      .join(' ').toLowerCase();
    this.changed = true;
    dirty.add(this);
  }

  get over() { return this.facts.duration_ms !== undefined; }

  get rate() {
    if (this.over) return this.facts.rate;
    const since = now() - this.facts.started - (this.facts.ttft_ms ?? 0);
    const some = this.samples.slice(-Math.max(Math.min(RATE, Math.floor(since / EVERY)), 1));
    if (since < 2 * EVERY) return since > 100 ? (1000 * this.facts.tokens) / since : null;
    return some.length ? some.reduce((a, b) => a + b, 0) / some.length : null;
  }

  draw() {
    const { facts, cells } = this;
    if (this.changed) {
      this.changed = false;
      this.node.dataset.state = facts.state || '';
      this.node.hidden = !fits(this);
      this.link.href = `#stream=${encodeURIComponent(facts.id)}`;
      put(this.link, facts.model || facts.asked || 'no model named');
      put(this.app, [facts.app, facts.key].filter(Boolean).join(' · ') || 'unnamed app');
      put(this.provider, facts.provider || '–');
      put(this.delivery, facts.delivery || '');
      this.dot.title = format.OUTCOMES[facts.state] || '';
      put(cells.ttft, format.ms(facts.ttft_ms));
      put(cells.tokens, format.count(facts.tokens));
      put(cells.gap, format.ms(facts.gap_max_ms));
      put(cells.paused, facts.paused_ms >= PAUSED ? format.ms(facts.paused_ms) : '–');
      this.note();
      if (this.over) put(cells.time, format.seconds(facts.duration_ms));
    }
    put(cells.rate, facts.ttft_ms === null && !this.over ? '–' : format.rate(this.rate));
    if (!this.over) put(cells.time, format.seconds(Math.max(now() - facts.started, 0)));
  }

  note() {
    const { facts } = this;
    const said = [];
    if (facts.state && !['streaming', 'complete'].includes(facts.state)) {
      const why = facts.error_type && facts.error_type !== facts.state ? ` · ${facts.error_type}` : '';
      said.push([facts.state, format.OUTCOMES[facts.state] + why]);
    }
    if (facts.breaks) said.push(['healed', format.plural(facts.breaks, 'break')]);
    if (facts.attempts > 1) said.push(['attempts', `${facts.attempts} attempts`]);
    if (facts.rerouted) said.push(['rerouted', facts.rerouted > 1 ? `rerouted ${facts.rerouted} times` : 'rerouted']);
    if (facts.resumes) said.push(['resumed', facts.resumes > 1 ? `resumed ${facts.resumes} times` : 'resumed']);
    const told = JSON.stringify(said);
    if (told === this.told) return;
    this.told = told;
    this.node.toggleAttribute('data-plain', !said.length);
    this.cells.notes.replaceChildren(...said.map(([kind, text]) => el('span', { class: 'chip', 'data-kind': kind, title: text }, text)));
  }

  sample() {
    const tokens = this.facts.tokens || 0;
    const came = (Math.max(tokens - this.last, 0) * 1000) / EVERY;
    this.last = tokens;
    this.samples.push(came);
    if (this.samples.length > SAMPLES) this.samples.shift();
    if (this.seen) {
      dirty.add(this);
      sparks.add(this);
    }
    return came;
  }
}

const fits = (row) => words.every((word) => row.words.includes(word));

export function filter(text) {
  words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of [...rows.values(), ...ended]) row.node.hidden = !fits(row);
  empty();
}

/** Everything, or what changed. */
export function take(said, whole) {
  frozen = 0;
  skew = Date.now() - said.now;
  if (whole) {
    for (const row of rows.values()) forget(row);
    rows.clear();
    for (const row of ended.splice(0)) forget(row);
    content = Boolean(said.content);
    $('#content').hidden = !content;
  }
  for (const facts of said.new || []) begin(facts);
  if (whole && !total.length) remember();
  for (const [id, facts] of Object.entries(said.set || {})) rows.get(id)?.take(facts);
  for (const id of said.gone || []) leave(id);
  for (const facts of said.ended || []) end(facts);
  if (said.targets) for (const tell of onBreakers) tell(said.targets);
  if (said.flying !== undefined) flying = said.flying;
  empty();
  draw();
}

/** What came before the page was opened: of the streams that still run. */
function remember() {
  for (let back = SAMPLES; back > 0; back--) {
    total.push([...rows.values()].reduce((sum, row) => sum + (row.samples.at(-back) || 0), 0));
  }
  while (total.length && !total[0]) total.shift();
}

function begin(facts) {
  leave(facts.id);
  const row = new Row(facts);
  rows.set(facts.id, row);
  $('#live-rows').append(row.node); // the newest last: nothing that is read moves when one begins
}

function leave(id) {
  const row = rows.get(id);
  if (!row) return;
  rows.delete(id);
  forget(row);
}

function forget(row) {
  dirty.delete(row);
  sparks.delete(row);
  sight.unobserve(row.node);
  row.node.remove();
}

function end(facts) {
  const row = new Row(facts);
  ended.unshift(row);
  $('#ended-rows').prepend(row.node);
  while (ended.length > ENDED) forget(ended.pop());
}

function empty() {
  put($('#flying'), flying);
  put($('#tile-flying'), flying);
  $('#live-empty').hidden = rows.size > 0;
  $('#ended').hidden = !ended.length;
  $('#ended-all').hidden = ended.length <= FEW;
  const more = flying - rows.size;
  $('#live-more').hidden = more <= 0 || !rows.size;
  put($('#live-more'), `and ${more} more`);
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const row of dirty) if (row.seen || row.node.hidden) row.draw();
    dirty.clear();
    let left = SPARKS;
    for (const row of sparks) {
      if (left-- <= 0) break;
      sparks.delete(row);
      if (row.seen) spark(row.canvas, row.samples);
    }
    if (sparks.size) draw();
  });
}

/** The list shrinks only after a while: what stands below it shall not jump with every stream that ends. */
function settle() {
  const list = $('#live-rows');
  heights = [...heights.slice(1 - CALM), list.childElementCount];
  const most = Math.max(...heights);
  if (most !== tallest) list.style.minHeight = `min(${most} * var(--row), var(--rows))`;
  tallest = most;
}

/** The connection is lost: what is shown is from this moment. */
export function freeze() { frozen ||= Date.now(); }

function tick() {
  if (frozen) return;
  let came = 0;
  let waiting = 0;
  for (const row of rows.values()) {
    came += row.sample();
    waiting += row.facts.state === 'waiting';
  }
  total.push(came);
  if (total.length > SAMPLES) total.shift();
  settle();
  if (!document.hidden) {
    const some = total.slice(-RATE);
    put($('#tile-rate'), format.rate(some.reduce((a, b) => a + b, 0) / some.length));
    put($('#tile-flying-more'), waiting ? `${waiting} waiting for a token` : '\u00a0');
    spark($('#tile-spark'), total);
    draw();
  }
}

/** Draw all again: the theme is another. */
export function redraw() {
  for (const row of rows.values()) sparks.add(row);
  spark($('#tile-spark'), total);
  draw();
}

/** Move the focus to the next or previous stream of the list. */
export function step(by) {
  const links = [...document.querySelectorAll('.stream:not([hidden]) a')];
  const at = links.indexOf(document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1)];
  next?.focus();
}

export const facts = (id) => rows.get(id)?.facts;

export function start() {
  setInterval(tick, EVERY);
  $('#ended-all').addEventListener('click', ({ target }) => {
    const all = $('#ended').toggleAttribute('data-all');
    target.setAttribute('aria-expanded', String(all));
    put(target, all ? 'Show fewer' : 'Show all');
  });
  $('#filter').addEventListener('input', ({ target }) => filter(target.value));
}
