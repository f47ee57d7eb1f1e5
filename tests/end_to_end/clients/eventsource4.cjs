// `node --require` this before issue.js: eventsource 3 and later take no `headers`, but a fetch of one's own, which sets them.
const { EventSource } = require('eventsource4');

globalThis.EventSource = class extends EventSource {
  constructor(url, { headers }) {
    super(url, { fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }) });
  }
};
