// The gateway's token: in this tab only, never in an address that is kept.

const NAME = 'midstream.token';
let token = '';

/** Take the token that came with the address, and take it out of there. */
export function begin() {
  const here = new URL(location.href);
  const given = here.searchParams.get('access_token');
  if (given !== null) {
    here.searchParams.delete('access_token');
    history.replaceState(null, '', here);
  }
  token = given || read();
  if (given) keep(given);
}

function read() {
  try { return sessionStorage.getItem(NAME) || ''; } catch { return ''; }
}

export function keep(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem(NAME, value);
    else sessionStorage.removeItem(NAME);
  } catch { /* a browser that keeps nothing: then it is in memory only */ }
}

/** Headers for fetch. */
export const bearer = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** An address for what cannot send headers: EventSource and WebSocket. */
export function address(path, parameters = {}) {
  const url = new URL(path, location.href);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  if (token) url.searchParams.set('access_token', token);
  return url;
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Fetch; an error is Refused, with what the gateway says. */
export async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...bearer(), ...options.headers } });
  if (response.ok) return response;
  const text = await response.text();
  let said = text.slice(0, 300);
  try { said = JSON.parse(text).error.message; } catch { /* no JSON: as it is */ }
  throw new Refused(response.status, said || `HTTP ${response.status}`);
}

export const json = async (path) => (await ask(path)).json();
