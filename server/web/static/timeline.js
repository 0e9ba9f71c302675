// Photos of a child along the child's age, as a picture with the same in words.
import { el } from './dom.js';
import { sighting } from './facts.js';
import { number, sentences, t } from './text.js';

// Sizes in pixels. The picture is drawn as wide as its place, so that text and chips keep their size on any screen.
const chip = 40, gap = 4, barRoom = 12, row = chip + barRoom, labelRoom = 22, edge = 40;
const unknownRoom = 64;
// beside is how readily a photo moves up a row instead of aside: aside it leaves its age.
const beside = 0.6;

// timeline shows sightings (see the API's Sighting) along the child's age. lanes names those of the probe and of the case;
// picture gives the URL of a sighting's face, or null; pair holds the two sightings that a line joins.
export function timeline(sightings, { lanes, picture, pair }) {
  const frame = el('div', { className: 'timeline' });
  let drawn = 0;
  // It has a size only once it is in sight: what nobody opens costs no pictures.
  new ResizeObserver(() => requestAnimationFrame(() => {
    const width = Math.floor(frame.clientWidth);
    if (width < 1 || width === drawn) return;
    drawn = width;
    frame.replaceChildren(draw(width, sightings, { lanes, picture, pair }));
  })).observe(frame);
  const looks = sightings.some(s => s.age_by === 'looks'), dates = sightings.some(s => s.age_by === 'dates');
  return el('figure', { className: 'ages' }, frame, el('figcaption', { className: 'hint' }, sentences([
    dates && t('js.timeline.dates'),
    looks && t('js.timeline.looks'),
    pair && t('js.timeline.pair'),
  ])));
}

// told is the timeline in words, for those who do not see it.
function told(sightings, lanes, pair) {
  const side = of => sightings.filter(s => s.of === of).map(s => sighting(s));
  const parts = Object.entries(lanes).map(([of, name]) => [name, side(of)]).filter(([, all]) => all.length > 0)
    .map(([name, all]) => t('js.timeline.lane', { Whose: name, Photos: all.join(t('js.timeline.between')) }));
  if (pair) parts.push(t('js.timeline.told_pair', { One: sighting(pair[0]), Other: sighting(pair[1]) }));
  return sentences([t('js.timeline.told'), ...parts]);
}

const svg = (tag, attributes = {}, ...children) => {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
};

const known = s => s.age !== undefined;

function draw(width, sightings, { lanes, picture, pair = [] }) {
  const column = sightings.some(s => !known(s)) ? unknownRoom : 0;
  const end = Math.max(10, 1.04 * Math.max(0, ...sightings.filter(known).map(s => s.age + (s.age_sd ?? 0))));
  const from = column + edge, to = width - chip / 2 - gap;
  const at = years => from + (to - from) * Math.min(years, end) / end;

  // The first lane stands above the axis, the second hangs below it.
  const placed = Object.keys(lanes).map(of =>
    place(sightings.filter(s => s.of === of), at, column + (column ? gap : 0) + chip / 2, width - chip / 2 - 2));
  const [above, below] = [0, 1].map(i => placed[i] ?? { spots: [], rows: 0 });
  const axisTop = labelRoom + above.rows * row, axisRoom = column ? 34 : 22;
  const axisEnd = axisTop + axisRoom;
  const height = axisEnd + (placed.length > 1 ? below.rows * row + labelRoom : 0);
  // y is the middle of a chip, bar the height of its bar, near its edge towards the axis.
  for (const s of above.spots) { s.near = axisTop - barRoom - s.row * row; s.y = s.near - chip / 2; s.bar = s.near + barRoom / 2; }
  for (const s of below.spots) { s.near = axisEnd + barRoom + s.row * row; s.y = s.near + chip / 2; s.bar = s.near - barRoom / 2; }
  const spots = [...above.spots, ...below.spots];

  const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': told(sightings, lanes, pair.length ? pair : null) });
  const label = (text, x, y, anchor, className = '') =>
    root.append(svg('text', { x, y, 'text-anchor': anchor, class: className }, document.createTextNode(text)));

  const step = [1, 2, 5, 10, 20, 50].find(n => at(n) - at(0) >= 28) ?? 50;
  for (let year = 0; year <= end; year += step) {
    root.append(svg('line', { x1: at(year), x2: at(year), y1: labelRoom, y2: axisTop, class: 'grid' }));
    if (placed.length > 1) root.append(svg('line', { x1: at(year), x2: at(year), y1: axisEnd, y2: height - labelRoom, class: 'grid' }));
  }
  if (column) root.append(svg('line', { x1: column - 2, x2: column - 2, y1: labelRoom, y2: placed.length > 1 ? height - labelRoom : axisEnd, class: 'border' }));
  root.append(svg('line', { x1: column, x2: width, y1: axisTop, y2: axisTop, class: 'axis' }));
  if (placed.length > 1) root.append(svg('line', { x1: column, x2: width, y1: axisEnd, y2: axisEnd, class: 'axis' }));

  const joined = pair.map(s => spots.find(spot => same(spot.of, s)));
  if (joined.length === 2 && joined[0] && joined[1]) {
    root.append(svg('line', { x1: joined[0].x, y1: joined[0].y, x2: joined[1].x, y2: joined[1].y, class: 'joined' }));
  }
  for (let year = 0; year <= end; year += step) label(number(year), at(year), axisTop + 16, 'middle');
  label(t('js.timeline.axis'), column + 4, axisTop + 16, 'start');
  if (column) {
    label(t('js.timeline.unknown_age'), (column - 4) / 2, axisTop + 14, 'middle');
    label(t('js.timeline.unknown'), (column - 4) / 2, axisTop + 28, 'middle');
  }
  Object.values(lanes).forEach((name, i) => label(name, 0, i === 0 ? 14 : height - 6, 'start', 'lane'));

  for (const spot of spots) root.append(bar(spot, at, end));
  for (const spot of spots) root.append(mark(spot, picture, joined.includes(spot)));
  return root;
}

const same = (a, b) => a.of === b.of && a.face === b.face;

// place finds a spot for each photo of a lane: as near its age as may be, and none on another.
function place(lane, at, from, to) {
  const spots = [], rows = [];
  let unknowns = 0;
  for (const s of [...lane].sort((a, b) => (a.age ?? 0) - (b.age ?? 0))) {
    if (!known(s)) {
      spots.push({ of: s, x: unknownRoom / 2 - 2, row: unknowns++ });
      continue;
    }
    const want = at(s.age);
    let best = null;
    for (let r = 0; r <= rows.length; r++) {
      const x = nearestFree(rows[r] ?? [], want, from, to);
      const cost = x === null ? Infinity : Math.abs(x - want) + r * chip * beside;
      if (!best || cost < best.cost) best = { x, r, cost };
    }
    (rows[best.r] ??= []).push(best.x);
    spots.push({ of: s, x: best.x, want, row: best.r });
  }
  return { spots, rows: Math.max(rows.length, unknowns, 1) };
}

// nearestFree is the place nearest to want where a photo covers none of a row, or null.
function nearestFree(taken, want, from, to) {
  const apart = chip + gap;
  const free = [want, ...taken.flatMap(x => [x - apart, x + apart])]
    .map(x => Math.min(Math.max(x, from), to))
    .filter(x => taken.every(y => Math.abs(x - y) >= apart - 0.01));
  return free.length === 0 ? null : free.reduce((a, b) => Math.abs(b - want) < Math.abs(a - want) ? b : a);
}

// bar is one standard deviation of an age to each side, a dot at the age, and a thread to a photo that had to move aside.
function bar(spot, at, end) {
  const g = svg('g', { class: `bar ${spot.of.age_by}` });
  if (!known(spot.of)) return g;
  const { age, age_sd: sd = 0 } = spot.of;
  if (Math.abs(spot.x - spot.want) > 1) g.append(svg('line', { x1: spot.x, y1: spot.near, x2: spot.want, y2: spot.bar, class: 'thread' }));
  g.append(svg('line', { x1: at(Math.max(0, age - sd)), x2: at(Math.min(end, age + sd)), y1: spot.bar, y2: spot.bar }),
    svg('circle', { cx: spot.want, cy: spot.bar, r: 2.5 }));
  return g;
}

// mark is a photo: the face, or a plain shape where there is no picture of it.
function mark(spot, picture, joined) {
  const half = chip / 2, box = { x: spot.x - half, y: spot.y - half, width: chip, height: chip };
  const url = picture(spot.of);
  return svg('g', { class: `chip ${spot.of.of} ${spot.of.age_by}${joined ? ' pair' : ''}` },
    svg('title', {}, document.createTextNode(sighting(spot.of))),
    svg('rect', { ...box, class: 'ground' }),
    url ? svg('image', { ...box, href: url, preserveAspectRatio: 'xMidYMid slice' })
      : svg('path', { class: 'nobody', d: `M${spot.x - 13} ${spot.y + half} a13 15 0 0 1 26 0 z M${spot.x - 7} ${spot.y - 4} a7 7 0 0 1 14 0 a7 7 0 0 1 -14 0 z` }),
    svg('rect', { ...box, class: 'frame' }));
}
