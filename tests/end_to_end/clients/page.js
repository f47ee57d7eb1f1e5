// What a page does with the gateway, and what it sees of it, which it reports to where it came from.
const { run, how, url, token, ask, accept } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
let sent = Promise.resolve();
function report(what) {
  sent = sent.then(() => fetch(`report/${run}`, { method: 'POST', body: JSON.stringify(what) }));
}

const bearer = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
const query = `model=${ask.model}&prompt=Hello&access_token=${token}`;
const post = (headers, more) => fetch(url, { method: 'POST', headers, body: JSON.stringify(ask), ...more });
const socketUrl = () => `${url.replace(/^http/, 'ws')}?access_token=${token}`;

async function read(response, seen) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) seen(piece.value);
}

const clients = {
  // Never closed by the page: 204 makes the browser stop.
  eventsource() {
    const source = new EventSource(`${url}?${query}`);
    source.onmessage = ({ data, lastEventId }) => report({ data, id: lastEventId });
    source.onerror = () => report({ error: source.readyState });
  },

  async fetch() {
    const response = await post({ ...bearer, Accept: accept });
    report({ status: response.status, stream: response.headers.get('x-stream-id') });
    await read(response, (text) => report({ text }));
    report({ end: true });
  },

  // Plain text that goes on, after a break, at the byte where it broke off.
  async range() {
    const response = await post({ ...bearer, Accept: 'text/plain' });
    const stream = response.headers.get('x-stream-id');
    let text = '';
    const seen = (more) => { text += more; report({ text: more }); };
    try {
      await read(response, seen);
      report({ end: 'unbroken' });
    } catch (error) {
      report({ error: error.name });
      const Range = `bytes=${new TextEncoder().encode(text).length}-`;
      const address = new URL(`/v1/streams/${stream}`, url);
      const rest = await fetch(address, { headers: { Authorization: bearer.Authorization, Accept: 'text/plain', Range } });
      report({ status: rest.status, range: rest.headers.get('content-range') });
      await read(rest, seen);
      report({ end: true });
    }
  },

  // Two chats on one socket; when it breaks, another socket resumes.
  websocket() {
    let last;
    let left = 2;
    function open(first) {
      const socket = new WebSocket(socketUrl());
      socket.onopen = () => socket.send(JSON.stringify(first));
      socket.onmessage = ({ data }) => {
        report({ data });
        if (data !== '[DONE]') { last = JSON.parse(data); return; }
        left -= 1;
        if (left) socket.send(JSON.stringify(ask));
        else socket.close(1000);
      };
      socket.onclose = ({ code }) => {
        report({ closed: code });
        if (left) open({ type: 'resume', stream: last.stream, after: last.sequence_number });
      };
    }
    open(ask);
  },

  // Every way in that a page has; what the page can see of each.
  async everything() {
    const seen = async (response) => ({ status: response.status, text: await response.text() });
    const unseen = (error) => ({ error: error.name });
    const simple = { 'Content-Type': 'text/plain' };
    report({
      preflighted: await post(bearer).then(seen, unseen),
      simple: await fetch(`${url}?access_token=${token}`, { method: 'POST', headers: simple, body: JSON.stringify(ask) }).then(seen, unseen),
      get: await fetch(`${url}?${query}`).then(seen, unseen),
      opaque: await fetch(`${url}?${query}`, { mode: 'no-cors' }).then((response) => ({ type: response.type }), unseen),
      eventsource: await new Promise((resolve) => {
        const source = new EventSource(`${url}?${query}`);
        source.onmessage = ({ data }) => { source.close(); resolve({ data }); };
        source.onerror = () => resolve({ error: source.readyState });
      }),
      websocket: await new Promise((resolve) => {
        const socket = new WebSocket(socketUrl());
        socket.onopen = () => { socket.close(); resolve({ open: true }); };
        socket.onclose = ({ code }) => resolve({ closed: code });
      }),
      image: await new Promise((resolve) => {
        const image = new Image();
        image.onload = image.onerror = ({ type }) => resolve({ type });
        image.src = `${url}?${query}`;
      }),
    });
  },
};

addEventListener('unhandledrejection', ({ reason }) => report({ failed: String(reason) }));
clients[how]();
