// Small helpers. What strangers named (models, apps, errors) only ever becomes text: nothing here parses markup.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element: props are properties, but for `class`, `data-…`, `aria-…` and `role`; children are nodes or text. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (/^(class|role|data-|aria-|for$)/.test(name)) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set a text, if it is another: what does not change costs no layout. */
export function put(node, text) {
  const said = String(text);
  const first = node.firstChild;
  if (first && first.nodeType === Node.TEXT_NODE && !first.nextSibling) {
    if (first.data !== said) first.data = said;
  } else {
    node.textContent = said;
  }
}

const css = new Map();
/** A colour of the theme, for canvases; `forget` it when the theme changes. */
export function colour(name) {
  if (!css.has(name)) css.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return css.get(name);
}
export const forgetColours = () => css.clear();

/** Draw numbers, oldest first, as an area that ends at the right edge; few of them leave the left empty. */
export function spark(canvas, values, least = 24) {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const width = canvas.clientWidth || 120;
  const height = canvas.clientHeight || 26;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (values.length < 2) return;
  const top = Math.max(...values, 1);
  const step = width / (Math.max(values.length, least) - 1);
  const x = (i) => width - (values.length - 1 - i) * step;
  const y = (value) => height - 1.5 - (value / top) * (height - 4);
  pen.beginPath();
  values.forEach((value, i) => pen.lineTo(x(i), y(value)));
  pen.lineWidth = 1.5;
  pen.lineJoin = 'round';
  pen.strokeStyle = colour('--accent');
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(x(0), height);
  pen.closePath();
  pen.fillStyle = colour('--accent-soft');
  pen.fill();
}
