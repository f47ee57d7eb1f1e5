// `node --require` this before issue.js: the EventSource that takes `headers`.
globalThis.EventSource = require('eventsource');
