// The page: the key, the connection, where in it one is, theme and keyboard. What is shown is in the modules beside.
import { $, forgetColours, put } from './dom.js';
import * as demo from './demo.js';
import * as past from './history.js';
import * as session from './session.js';
import * as one from './stream.js';
import * as streams from './streams.js';

const THEMES = ['auto', 'light', 'dark'];
const GIVE_UP = 3; // failed connections in a row before the gateway is asked why
const RETRY = 3000;

let source = null;
let failures = 0;
let retry = 0;
let since = null;

function connected(state, text) {
  const pill = $('#connection');
  if (pill.dataset.state === 'live' && state === 'lost') since = new Date();
  pill.dataset.state = state;
  put($('span', pill), text);
  document.body.toggleAttribute('data-lost', state === 'lost');
  if (state === 'lost') streams.freeze();
  put($('#lost'), state === 'lost' ? `No connection to midstream${since ? ` since ${since.toLocaleTimeString()}. What you see is from then` : ''}. Trying again…` : '');
}

/** An EventSource comes back by itself, with the id of the last change it has; only where it gives up, we begin another. */
function watch() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(session.address('/live/events'));
  source.onopen = () => { failures = 0; connected('live', 'live'); };
  const take = (whole) => ({ data }) => streams.take(JSON.parse(data), whole);
  source.addEventListener('whole', take(true));
  source.addEventListener('change', take(false));
  source.onerror = () => {
    connected('lost', 'reconnecting');
    failures += 1;
    if (source.readyState === EventSource.CLOSED || failures >= GIVE_UP) retry = setTimeout(check, RETRY);
  };
}

/** Ask the gateway why: a key that no longer holds, or a proxy that is gone. */
async function check() {
  try {
    await session.ask('/live/history?span=15m');
    watch();
  } catch (error) {
    if (error.status === 401 || error.status === 403) lock(error.message);
    else retry = setTimeout(check, RETRY);
  }
}

function lock(why) {
  source?.close();
  connected('locked', 'locked');
  session.keep('');
  document.body.dataset.locked = '';
  for (const [id, hidden] of [['locked', false], ['all', true], ['one', true]]) $(`#${id}`).hidden = hidden;
  put($('#unlock-error'), why);
  $('#token').focus();
}

async function enter() {
  try {
    await session.ask('/live/history?span=15m');
  } catch (error) {
    if (error.status === 401 || error.status === 403) return lock(session.bearer().Authorization || error.status === 403 ? error.message : '');
    connected('lost', 'reconnecting');
    retry = setTimeout(enter, RETRY);
    return undefined;
  }
  delete document.body.dataset.locked;
  $('#locked').hidden = true;
  route();
  watch();
  return past.look();
}

function route() {
  if ('locked' in document.body.dataset) return;
  const [name, value] = location.hash.slice(1).split('=');
  const single = name === 'stream' && Boolean(value);
  $('#all').hidden = single;
  $('#one').hidden = !single;
  if (single) {
    scrollTo(0, 0);
    one.open(decodeURIComponent(value));
  } else {
    one.close();
    streams.redraw();
    if (name) document.getElementById(name)?.scrollIntoView();
  }
}

function theme(next) {
  const root = document.documentElement;
  if (next === 'auto') delete root.dataset.theme;
  else root.dataset.theme = next;
  put($('#theme span'), next[0].toUpperCase() + next.slice(1));
  $('#theme').setAttribute('aria-label', `Theme: ${next}`);
  try { localStorage.setItem('midstream.theme', next); } catch { /* then it is for this visit */ }
  forgetColours();
  streams.redraw();
}

function turn() {
  const now = document.documentElement.dataset.theme || 'auto';
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

const KEYS = {
  j: () => streams.step(1),
  k: () => streams.step(-1),
  t: turn,
  '/': () => $('#filter').focus(),
  '?': () => $('#help').showModal(),
  Escape: () => { if (location.hash.startsWith('#stream=')) location.hash = ''; },
};

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $('#help').open) return;
  if (event.target.matches('input, textarea, select')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (/^[1-6]$/.test(event.key)) past.choose(Number(event.key) - 1);
  else if (Object.hasOwn(KEYS, event.key)) {
    event.preventDefault();
    KEYS[event.key]();
  }
}

function begin() {
  session.begin();
  let kept = 'auto';
  try { kept = localStorage.getItem('midstream.theme') || 'auto'; } catch { /* as the system has it */ }
  streams.start();
  past.start();
  demo.start();
  theme(THEMES.includes(kept) ? kept : 'auto');
  $('#theme').addEventListener('click', turn);
  $('#keys').addEventListener('click', () => $('#help').showModal());
  $('#unlock').addEventListener('submit', (event) => {
    event.preventDefault();
    session.keep($('#token').value.trim());
    $('#token').value = '';
    enter();
  });
  addEventListener('hashchange', route);
  addEventListener('keydown', key);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { forgetColours(); streams.redraw(); });
  enter();
}

begin();
