// node websocket.mjs URL BODY COUNT [ws]: ask COUNT times, one chat after another on one socket, and write the messages as lines.
const [url, body, count, library] = process.argv.slice(2);
const WebSocket = library === 'ws' ? (await import('ws')).WebSocket : globalThis.WebSocket;
const socket = new WebSocket(url);
let left = Number(count);
socket.onopen = () => socket.send(body);
socket.onmessage = ({ data }) => {
  process.stdout.write(`${data}\n`);
  if (data !== '[DONE]') return;
  left -= 1;
  if (left) socket.send(body);
  else socket.close();
};
socket.onerror = (event) => { console.error(`error: ${event.message}`); process.exitCode = 1; };
