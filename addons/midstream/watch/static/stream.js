// One stream's page: what was asked, each attempt, its timeline and, if the user wants it shown, what was said.
import { $, el, put } from './dom.js';
import * as format from './format.js';
import { json } from './session.js';
import { shows } from './streams.js';
import { broken, legend, timeline } from './timeline.js';

const AGAIN = 1000; // milliseconds between two looks at a stream that runs

let timer = 0;
let shown = '';
let parts = null;

export function close() {
  clearTimeout(timer);
  shown = '';
  parts = null;
}

export async function open(id) {
  clearTimeout(timer);
  const first = shown !== id;
  shown = id;
  try {
    const data = await json(`/live/stream/${encodeURIComponent(id)}`);
    if (shown !== id) return;
    if (first || !parts) build();
    draw(data);
    if (first) parts.title.focus({ preventScroll: true });
    if (data.live) timer = setTimeout(() => open(id), AGAIN);
  } catch (error) {
    if (shown !== id) return;
    if (parts && error.status === undefined) timer = setTimeout(() => open(id), 3 * AGAIN); // no connection: what is there stays
    else $('#one').replaceChildren(back(), el('section', { class: 'card' }, el('p', { class: 'empty' }, `This stream cannot be shown: ${error.message}.`)));
  }
}

const back = () => el('p', { class: 'back' }, el('a', { href: '#' }, '← All streams'));
const card = (title, ...inside) => el('section', { class: 'card' }, el('div', { class: 'head' }, el('h2', {}, title)), ...inside);

/** Built once: later looks change what is in it, so that focus, selection and scrolling stay. */
function build() {
  parts = {
    title: el('h1', { tabIndex: -1 }), chip: el('span', { class: 'chip big' }), about: el('p', { class: 'note' }),
    main: el('dl', { class: 'facts main' }), more: el('dl', { class: 'facts' }), error: el('p', { class: 'error' }),
    plot: el('div', { class: 'timeline' }), words: el('div', { class: 'words' }), tries: el('tbody'), moments: el('ul', { class: 'moments' }),
  };
  const head = ['#', 'Target', 'HTTP', 'First token', 'Duration', 'Tokens', 'Cost', 'Ended', 'Why, and what followed'];
  const row = el('tr', {}, ...head.map((name, i) => el('th', { class: [0, 2, 3, 4, 5, 6].includes(i) ? 'n' : '' }, name)));
  $('#one').replaceChildren(back(),
    el('section', { class: 'card' }, el('div', { class: 'head' }, parts.title, parts.chip), parts.about, parts.main, parts.more, parts.error),
    card('Timeline', parts.plot, legend()),
    card('Attempts', el('div', { class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': 'Attempts' }, el('table', {}, el('thead', {}, row), parts.tries)), parts.moments),
    card('What was said', parts.words));
}

function draw(data) {
  const { stream } = data;
  const state = stream.outcome || data.seen?.state || (stream.ttft_ms === null ? 'waiting' : 'streaming');
  put(parts.title, stream.model_served || stream.model_requested || 'no model named');
  parts.chip.dataset.kind = state;
  put(parts.chip, format.OUTCOMES[state] || state);
  put(parts.about, subtitle(stream));
  facts(data);
  put(parts.error, stream.error ? `${stream.error_type || 'error'}: ${stream.error}` : '');
  timeline(parts.plot, data);
  attempts(data);
  words(data);
}

function subtitle(stream) {
  const when = new Date(stream.started_at);
  const asked = stream.model_served && stream.model_served !== stream.model_requested ? `asked for as ${stream.model_requested}` : '';
  return [stream.app || 'unnamed app', stream.key && `key ${stream.key}`, stream.client && `from ${stream.client}`, stream.provider, stream.dialect,
    asked, Number.isNaN(when.getTime()) ? stream.started_at : when.toLocaleString()].filter(Boolean).join(' · ');
}

function facts({ stream, seen, now }) {
  const running = seen ? { duration_ms: Math.max(now - Date.parse(stream.started_at), 0), gap_max_ms: seen.gap_max_ms } : {};
  const flowing = running.duration_ms - stream.ttft_ms;
  const rate = stream.tokens_per_s ?? (seen && stream.ttft_ms !== null && flowing > AGAIN ? (1000 * seen.tokens) / flowing : null);
  const source = { provider: 'the provider’s count', tiktoken: 'counted here', estimate: 'estimated' }[stream.usage_source] || '';
  const out = seen ? 'estimated' : stream.reasoning_tokens ? `${format.count(stream.reasoning_tokens)} reasoning` : source;
  list(parts.main, [
    ['First token', format.ms(stream.ttft_ms)], ['Tokens/s', format.rate(rate), seen ? 'so far' : ''],
    ['Tokens out', format.count(stream.output_tokens ?? seen?.tokens), out],
    ['Tokens in', format.count(stream.input_tokens), stream.cached_tokens ? `${format.count(stream.cached_tokens)} cached` : source],
    ['Duration', format.seconds(stream.duration_ms ?? running.duration_ms)], ['Cost', format.usd(stream.cost_usd)],
  ]);
  list(parts.more, [
    ['Gap p50', format.ms(stream.gap_p50_ms)], ['Gap p95', format.ms(stream.gap_p95_ms)], ['Longest gap', format.ms(stream.gap_max_ms ?? running.gap_max_ms)],
    ['Held back', stream.paused_ms >= 1 ? format.ms(stream.paused_ms) : '–'],
    ['Attempts', stream.attempts], ['Rerouted', stream.rerouted], ['Breaks', stream.breaks], ['Resumes', stream.resumes],
    ['Delivery', stream.delivery], ['HTTP', stream.http_status ?? '–'], ['Finish', stream.finish_reason || '–'],
    ['Events', format.count(stream.chunks), stream.bytes ? `${format.count(stream.bytes)} bytes` : ''],
  ]);
}

function list(node, said) {
  node.replaceChildren(...said.map(([name, value, more]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value ?? '–'), more ? el('small', {}, more) : null))));
}

function attempts(data) {
  const cell = (text, kind = '') => el('td', { class: kind }, text);
  parts.tries.replaceChildren(...data.attempts.map((one) => el('tr', {},
    cell(String(one.n), 'n'), cell([one.provider, one.model].filter(Boolean).join('/'), 'name'), cell(String(one.http_status ?? '–'), 'n'), cell(format.ms(one.ttft_ms), 'n'),
    cell(format.seconds(one.duration_ms), 'n'), cell(format.count(one.output_tokens), 'n'), cell(format.usd(one.cost_usd), 'n'),
    el('td', {}, el('span', { class: 'chip', 'data-kind': broken(one) ? 'failed' : one.ended || 'streaming' }, one.ended || 'running')),
    cell([one.error, one.next].filter(Boolean).join(' → '), 'why'))));
  const doing = { stall: 'stalled', resume: 'the client came back', pause: 'the provider was held back for a slow client' };
  parts.moments.replaceChildren(...data.moments.map((one) => el('li', {}, el('b', {}, format.ms(one.at_ms)),
    ` ${doing[one.kind] || one.kind}${one.lasted_ms ? `, ${format.ms(one.lasted_ms)}` : ''}`)));
}

/** Only where the user turned content on; it is in this process's memory, and nowhere else. */
function words({ content, attempts: tries }) {
  if (!content) {
    const why = shows() ? 'Nothing is kept of this stream: it began before content was turned on, was long ago, or belongs to another key.'
      : 'Prompts and answers are not shown. Start midstream with “--set midstream_content=true” to read along here; they are kept in memory only.';
    parts.words.replaceChildren(el('p', { class: 'note' }, why));
    return;
  }
  const told = JSON.stringify(content);
  if (told === parts.told) return;
  parts.told = told;
  const before = parts.answer;
  const follow = !before || before.scrollHeight - before.scrollTop - before.clientHeight < 40;
  const said = content.parts.flatMap((part, i) => {
    const target = tries.find((one) => one.n === part.attempt);
    const other = i > 0 && content.parts[i - 1].attempt !== part.attempt;
    const seam = other ? [el('span', { class: 'chip', 'data-kind': 'seam' }, `attempt ${part.attempt}${target ? `: ${target.provider}` : ''}`), ' '] : [];
    return [...seam, el('span', { class: `said ${part.kind}` }, part.text)];
  });
  parts.answer = el('div', { class: 'answer', tabIndex: 0, role: 'region', 'aria-label': 'Answer' }, ...said, content.cut ? el('em', {}, ' … cut here') : null);
  parts.words.replaceChildren(
    el('h3', {}, 'Prompt'), el('div', { class: 'answer prompt', tabIndex: 0, role: 'region', 'aria-label': 'Prompt' }, content.prompt.join('\n\n') || '–'),
    el('h3', {}, tries.length > 1 ? 'Answer, as each attempt gave it' : 'Answer'), parts.answer);
  if (follow) parts.answer.scrollTop = 1e9;
}
