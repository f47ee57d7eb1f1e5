// One chat, asked once and read by three clients side by side: EventSource, WebSocket, and fetch with plain chunked text.
// Each can be cut off, and goes on from where it was, as any client of the gateway can.
import { $, el, put } from './dom.js';
import * as format from './format.js';
import { address, ask, bearer } from './session.js';

const PAUSE = 900; // milliseconds that a cut is left visible

/** What a pane shows of one client, whichever it is. */
class Pane {
  constructor(name, how) {
    this.node = $('#pane-template').content.firstElementChild.cloneNode(true);
    this.part = (kind) => $(`.${kind}`, this.node);
    put($('h3', this.node), name);
    put(this.part('how'), how);
    this.node.dataset.client = name;
    this.button = this.part('cut');
    this.button.addEventListener('click', () => this.cut());
    $('#panes').append(this.node);
  }

  begin(id, asked, asking) {
    this.stop();
    Object.assign(this, { id, asked, text: '', events: 0, resumes: 0, usage: null, over: false, ended: null, first: null, latest: null, n: 0, run: (this.run || 0) + 1 });
    this.part('answer').replaceChildren();
    for (const [kind, text] of [['first', '–'], ['speed', '–'], ['total', '–'], ['resumed', '0']]) put(this.part(kind), text);
    this.say(asking ? 'asking' : '');
    this.node.dataset.state = 'live';
    if (!asking) {
      this.button.disabled = false;
      this.connect();
    }
  }

  say(text) { put(this.part('events'), text); }

  add(text) {
    const now = performance.now();
    if (text) {
      if (this.first === null) {
        this.first = now;
        put(this.part('first'), format.ms(now - this.asked));
      }
      this.latest = now;
      this.text += text;
      this.part('answer').append(text);
      this.part('answer').scrollTop = 1e9;
    }
    this.tell();
  }

  tell(tokens = this.usage ?? Math.max(this.events, Math.round(this.text.length / 4))) {
    if (this.first === null) return;
    const spent = (this.latest - this.first) / 1000;
    if (spent > 0.05) put(this.part('speed'), `${this.usage === null ? '≈ ' : ''}${format.rate(tokens / spent)}`);
    put(this.part('total'), format.seconds((this.over ? this.ended : performance.now()) - this.asked));
  }

  /** A chunk of the chat, as JSON. */
  chunk(said) {
    if (said.error) { this.end(said.error.message || 'the stream failed', true); return; }
    if (said.usage?.completion_tokens !== undefined) counted(said.usage.completion_tokens);
    const text = said.choices?.[0]?.delta?.content || '';
    if (text) this.events += 1;
    this.add(text);
  }

  end(why = 'complete', failed = false) {
    if (this.over) return;
    this.over = true;
    this.ended = performance.now();
    this.tell();
    this.say(failed ? why : `${why}${this.resumes ? `, resumed ${this.resumes === 1 ? 'once' : `${this.resumes} times`}` : ''}`);
    this.node.dataset.state = failed ? 'failed' : 'done';
    this.button.disabled = true;
    this.disconnect();
    buttons();
  }

  cut() {
    if (this.over || this.node.dataset.state !== 'live') return;
    this.disconnect();
    this.node.dataset.state = 'cut';
    this.part('answer').append(el('mark', { title: 'The connection was cut here' }, '✂'));
    this.say(`cut after ${this.place()}; back in a moment`);
    const { run } = this;
    setTimeout(() => { if (run === this.run && !this.over) this.resume(); }, PAUSE);
  }

  resume() {
    this.resumes += 1;
    put(this.part('resumed'), this.resumes);
    this.node.dataset.state = 'live';
    this.say(`went on after ${this.place()}`);
    this.connect();
  }

  place() { return `event ${this.n}`; }

  stop() {
    this.over = true;
    this.ended ??= performance.now();
    this.disconnect();
  }
}

class EventsPane extends Pane {
  connect() {
    const source = new EventSource(address(`/v1/streams/${this.id}`, this.n ? { after: this.n } : {}));
    this.source = source;
    source.onmessage = ({ data, lastEventId }) => {
      if (source !== this.source) return;
      this.n = Number(lastEventId.split(':').at(-1)) || this.n;
      if (data === '[DONE]') this.end();
      else this.chunk(JSON.parse(data));
    };
    source.onerror = () => { if (source === this.source && source.readyState === EventSource.CLOSED) this.end('the gateway ended it', !this.text); };
  }

  disconnect() { this.source?.close(); this.source = null; }
}

class SocketPane extends Pane {
  connect() {
    const url = address(`/v1/streams/${this.id}`, this.n ? { after: this.n } : {});
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (data === '[DONE]') { this.end(); return; }
      const said = JSON.parse(data);
      this.n = said.sequence_number || this.n;
      this.chunk(said);
    };
    socket.onclose = ({ code }) => { if (socket === this.socket && !this.over) this.end(`closed with code ${code}`, true); };
  }

  disconnect() { const { socket } = this; this.socket = null; socket?.close(); }
}

class ChunkedPane extends Pane {
  async connect() {
    const reading = new AbortController();
    this.reading = reading;
    const headers = { Accept: 'text/plain', ...bearer(), ...(this.n && { Range: `bytes=${this.n}-` }) };
    try {
      const response = await fetch(`/v1/streams/${this.id}`, { headers, signal: reading.signal });
      if (response.status === 416) { this.end(); return; }
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      await this.read(response.body.getReader(), reading);
      if (reading === this.reading) this.end();
    } catch (error) {
      if (reading === this.reading && !this.over) this.end(`broken off: ${error.message}`, true);
    }
  }

  /** Count bytes, and let a character that two chunks share wait for its second half. */
  async read(reader, reading) {
    const decoder = (this.n && this.decoder) || new TextDecoder();
    this.decoder = decoder;
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      if (reading !== this.reading) return;
      this.n += piece.value.length;
      this.events += 1;
      this.add(decoder.decode(piece.value, { stream: true }));
    }
  }

  place() { return `byte ${this.n}`; }

  disconnect() { const { reading } = this; this.reading = null; reading?.abort(); }
}

let panes = [];
let poll = 0;

/** The usage that came with the chat counts for all three: it is the same chat. */
function counted(tokens) {
  for (const pane of panes) {
    pane.usage = tokens;
    pane.tell();
  }
}

function buttons() {
  $('#cut-all').disabled = !panes.some((pane) => !pane.over);
}

async function stream(event) {
  event.preventDefault();
  put($('#ask-error'), '');
  const asked = performance.now();
  for (const pane of panes) pane.begin('', asked, true);
  const body = { model: $('#ask-model').value.trim(), messages: [{ role: 'user', content: $('#ask-prompt').value }], stream: true };
  try {
    const response = await ask('/v1/chat/stream', { method: 'POST', headers: { 'Content-Type': 'application/json', Prefer: 'respond-async' }, body: JSON.stringify(body) });
    const { id } = await response.json();
    for (const pane of panes) pane.begin(id, asked, false);
    $('#panes').dataset.stream = id;
  } catch (error) {
    for (const pane of panes) pane.end('', true);
    put($('#ask-error'), error.message);
  }
  buttons();
}

export function start() {
  panes = [
    new EventsPane('SSE', 'EventSource, Last-Event-ID'),
    new SocketPane('WebSocket', 'a message an event'),
    new ChunkedPane('Chunked', 'plain text, Range'),
  ];
  $('#ask').addEventListener('submit', stream);
  $('#cut-all').addEventListener('click', () => panes.forEach((pane) => pane.cut()));
  clearInterval(poll);
  poll = setInterval(() => panes.forEach((pane) => { if (!pane.over && pane.first) pane.tell(); }), 250);
}
