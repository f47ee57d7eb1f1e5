// Charts as SVG: lines or stacked bars over buckets of time, with a crosshair for mouse, finger and arrow keys.
import { el, put, svg } from './dom.js';

const HEIGHT = 150;
const [MINUTE, HOUR, DAY] = [60, 3600, 86400];
const ROUND = [MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY];
const PAD = { top: 10, right: 8, bottom: 20, left: 54 };

/** A round number at or above the largest value, of which there are 2 to 4 steps. */
function scale(top) {
  if (!(top > 0)) return { top: 1, ticks: [0, 1] };
  const rough = top / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let tick = 0; tick < top + step * 0.999; tick += step) ticks.push(tick);
  return { top: ticks.at(-1), ticks };
}

function clock(t, span) {
  const when = new Date(t * 1000);
  if (span > 3 * 86400) return when.toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
  const options = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  return when.toLocaleTimeString(undefined, options);
}

function full(t, step) {
  const when = new Date(t * 1000);
  const day = { weekday: 'short', day: 'numeric', month: 'short' };
  if (step >= 86400) return when.toLocaleDateString(undefined, day);
  const time = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...(step < 60 && { second: '2-digit' }) };
  return when.toLocaleString(undefined, step >= 600 ? { ...day, ...time } : time);
}

export class Chart {
  /** series: [{ name, tone, of: (bucket, step) => number or null }]; stacked bars, or lines. */
  constructor({ title, hint, series, format, stacked = false, headline, tick }) {
    Object.assign(this, { title, series, format, stacked, headline });
    this.tick = tick || ((value) => format(value).replace(/\.0+(?=\D|$)/, ''));
    this.legend = el('ul', { class: 'legend' }, ...series.map((one) => el('li', { 'data-tone': one.tone }, one.name)));
    this.figure = el('div', { class: 'plot' });
    this.tip = el('div', { class: 'tip', hidden: true, role: 'status' });
    this.head = el('b', { class: 'headline' });
    this.node = el('figure', { class: 'chart', title: hint || '' },
      el('figcaption', {}, el('span', {}, title), this.head), this.figure, this.legend, this.tip);
    this.at = null;
    new ResizeObserver(() => this.data && this.draw()).observe(this.figure);
    this.figure.addEventListener('pointermove', (event) => this.point(event));
    this.figure.addEventListener('pointerleave', () => this.read(null));
    this.figure.addEventListener('keydown', (event) => this.key(event));
    this.figure.addEventListener('blur', () => this.read(null));
    this.figure.tabIndex = 0;
    this.figure.setAttribute('role', 'img');
  }

  show(data) {
    this.data = data;
    this.values = this.series.map((one) => data.buckets.map((bucket) => one.of(bucket, data.step)));
    put(this.head, this.headline ? this.headline(data) : '');
    const some = this.values.flat().some((value) => value > 0);
    this.figure.classList.toggle('none', !some);
    this.figure.setAttribute('aria-label', `${this.title}: ${some ? this.head.textContent : 'nothing yet'}. Arrow keys read it.`);
    this.draw();
  }

  draw() {
    const width = Math.max(this.figure.clientWidth, 160);
    const { buckets } = this.data;
    const count = Math.max(buckets.length, 1);
    const sums = buckets.map((_, i) => this.values.reduce((sum, values) => sum + (values[i] || 0), 0));
    const { top, ticks } = scale(Math.max(0, ...(this.stacked ? sums : this.values.flat().map((value) => value || 0))));
    this.band = (width - PAD.left - PAD.right) / count;
    this.x = (i) => PAD.left + (i + 0.5) * this.band;
    this.y = (value) => HEIGHT - PAD.bottom - (value / top) * (HEIGHT - PAD.top - PAD.bottom);
    const plot = svg('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, 'aria-hidden': 'true' });
    for (const tick of ticks) {
      plot.append(svg('line', { class: tick ? 'grid' : 'axis', x1: PAD.left, x2: width - PAD.right, y1: this.y(tick), y2: this.y(tick) }));
      const label = svg('text', { class: 'tick', x: PAD.left - 6, y: this.y(tick) + 4, 'text-anchor': 'end' });
      label.textContent = tick ? this.tick(tick) : '0';
      plot.append(label);
    }
    this.times(plot, width);
    if (this.stacked) this.bars(plot);
    else this.values.map((values, n) => [values, n]).reverse().forEach(([values, n]) => this.line(plot, values, this.series[n].tone)); // the first on top
    this.cross = svg('line', { class: 'cross', y1: PAD.top, y2: HEIGHT - PAD.bottom, visibility: 'hidden' });
    plot.append(this.cross);
    this.figure.replaceChildren(plot);
    if (this.at !== null) this.read(this.at);
  }

  /** Labels at round times of the reader's own clock. */
  times(plot, width) {
    const { buckets, step } = this.data;
    if (!buckets.length) return;
    const span = buckets.length * step;
    const most = Math.max(2, Math.floor((width - PAD.left) / 80));
    const every = ROUND.find((seconds) => seconds >= step && span / seconds <= most) ?? ROUND.at(-1);
    const zone = new Date(buckets.at(-1).t * 1000).getTimezoneOffset() * 60;
    buckets.forEach((bucket, i) => {
      if ((bucket.t - zone) % every || this.x(i) < PAD.left + 10 || this.x(i) > width - 22) return;
      const label = svg('text', { class: 'tick', x: this.x(i), y: HEIGHT - 5, 'text-anchor': 'middle' });
      label.textContent = clock(bucket.t, span);
      plot.append(label);
    });
  }

  bars(plot) {
    const wide = Math.max(this.band - (this.band > 4 ? 2 : 0.5), 1);
    this.data.buckets.forEach((_, i) => {
      let sum = 0;
      this.values.forEach((values, n) => {
        const value = values[i] || 0;
        if (!value) return;
        const [low, high] = [this.y(sum), this.y(sum + value)];
        sum += value;
        const height = Math.max(low - high, 1);
        plot.append(svg('rect', { 'data-tone': this.series[n].tone, x: this.x(i) - wide / 2, y: low - height, width: wide, height, rx: Math.min(1.5, wide / 4) }));
      });
    });
  }

  line(plot, values, tone) {
    let path = '';
    let bridge = ''; // over times of which nothing is known, faintly
    let open = false;
    values.forEach((value, i) => {
      if (value === null || value === undefined) { open = false; return; }
      const [x, y] = [this.x(i).toFixed(1), this.y(value).toFixed(1)];
      const alone = !open && (values[i + 1] === null || values[i + 1] === undefined);
      if (alone) plot.append(svg('circle', { 'data-tone': tone, cx: x, cy: y, r: 2.2 }));
      path += `${open ? 'L' : 'M'}${x} ${y}`;
      bridge += `${bridge ? 'L' : 'M'}${x} ${y}`;
      open = true;
    });
    plot.append(svg('path', { 'data-tone': tone, d: bridge || 'M0 0', class: 'bridge' }), svg('path', { 'data-tone': tone, d: path || 'M0 0', class: 'line' }));
  }

  point(event) {
    const box = this.figure.getBoundingClientRect();
    this.read(Math.floor((event.clientX - box.left - PAD.left) / this.band));
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 }[event.key];
    if (by === undefined || !this.data?.buckets.length) return;
    event.preventDefault();
    this.read((this.at ?? this.data.buckets.length) + by, true);
  }

  read(i, clamp = false) {
    const last = (this.data?.buckets.length || 0) - 1;
    const at = i === null || last < 0 ? null : clamp ? Math.min(Math.max(i, 0), last) : i;
    this.at = at === null || at < 0 || at > last ? null : at;
    this.tip.hidden = this.at === null;
    this.cross?.setAttribute('visibility', this.at === null ? 'hidden' : 'visible');
    if (this.at === null) return;
    const x = this.x(this.at);
    this.cross.setAttribute('x1', x);
    this.cross.setAttribute('x2', x);
    const lines = this.series.map((one, n) => {
      const value = this.values[n][this.at];
      return el('li', { 'data-tone': one.tone }, `${one.name} `, el('b', {}, value === null || value === undefined ? '–' : this.format(value)));
    });
    this.tip.replaceChildren(el('span', {}, full(this.data.buckets[this.at].t, this.data.step)), el('ul', { class: 'legend' }, ...lines));
    const right = x > this.figure.clientWidth / 2;
    this.tip.style.left = right ? 'auto' : `${x + 22}px`;
    this.tip.style.right = right ? `${this.figure.clientWidth - x + 22}px` : 'auto';
  }
}
