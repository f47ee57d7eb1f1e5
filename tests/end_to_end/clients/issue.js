const source = new EventSource('https://proxy.example.com/v1/chat/stream', { headers: { Authorization: 'Bearer YOUR_TOKEN' } });
source.onmessage = (event) => {
  const data = JSON.parse(event.data);
  if (data.choices[0].finish_reason) { source.close(); return; }
  process.stdout.write(data.choices[0].delta.content);
};
