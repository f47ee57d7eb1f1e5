// node --require ./eventsource2.cjs follow_all.cjs TOKEN PATH PORT…: the client at many addresses at once; writes their texts.
const [token, path, ...ports] = process.argv.slice(2);

function follow(port) {
  return new Promise((resolve) => {
    let text = '';
    const source = new EventSource(`http://localhost:${port}${path}`, { headers: { Authorization: `Bearer ${token}` } });
    source.onmessage = (event) => {
      const data = JSON.parse(event.data);
      if (data.choices[0].finish_reason) { source.close(); resolve(text); return; }
      text += data.choices[0].delta.content;
    };
  });
}

Promise.all(ports.map(follow)).then((texts) => process.stdout.write(JSON.stringify(texts)));
