// node fetch.mjs URL TOKEN ACCEPT BODY: write the answer's body to stdout as it comes.
const [url, token, accept, body] = process.argv.slice(2);
const response = await fetch(url, {
  method: 'POST',
  headers: { Authorization: `Bearer ${token}`, Accept: accept, 'Content-Type': 'application/json' },
  body,
});
if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
const reader = response.body.getReader();
for (let piece = await reader.read(); !piece.done; piece = await reader.read()) process.stdout.write(piece.value);
