// Two faces side by side: any photo of either case on either side, both zoomed and moved together, laid over one another, or
// in turn. The pictures are cut out with the eyes in the same place, so that what is compared lies in the same place too.
import { byId } from './dom.js';

const tools = byId('tools'), panes = byId('panes');
const most = 6, step = 0.5, stride = 24; // pixels that an arrow key moves
const blinkEvery = 700; // milliseconds: well below what flickers
const still = matchMedia('(prefers-reduced-motion: reduce)');

const view = { zoom: 1, x: 0, y: 0 };
let blinking = null;

const frames = () => [...panes.querySelectorAll('.frame')];
const pictures = () => [...panes.querySelectorAll('.frame img')];

function draw() {
  const room = (view.zoom - 1) / 2;
  const width = frames()[0].clientWidth, height = frames()[0].clientHeight;
  view.x = Math.min(Math.max(view.x, -room * width), room * width);
  view.y = Math.min(Math.max(view.y, -room * height), room * height);
  for (const p of pictures()) p.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  byId('zoom').value = view.zoom;
}

export function zoom(to) { view.zoom = Math.min(Math.max(to, 1), most); draw(); }
export const closer = () => zoom(view.zoom + step);
export const farther = () => zoom(view.zoom - step);
export function pan(x, y) { view.x += x; view.y += y; draw(); }
export function reset() { Object.assign(view, { zoom: 1, x: 0, y: 0 }); draw(); }
export const zoomed = () => view.zoom > 1;

function mix() { panes.querySelectorAll('.frame')[1].style.opacity = panes.dataset.mode === 'over' ? byId('mix').value / 100 : ''; }

function flip() { panes.classList.toggle('flipped'); }

// mode is how the two are shown: beside, over or blink.
export function mode(to) {
  panes.dataset.mode = to;
  panes.classList.remove('flipped');
  clearInterval(blinking);
  blinking = to === 'blink' && !still.matches ? setInterval(flip, blinkEvery) : null;
  tools.querySelector(`[name=mode][value=${to}]`).checked = true;
  byId('mix-row').hidden = to !== 'over';
  byId('flip-row').hidden = to !== 'blink';
  mix();
  draw();
}

// put shows a photo on a side, 0 or 1.
function put(item, side) {
  const { face, photo, age } = item.dataset;
  const pane = panes.querySelectorAll('.pane')[side];
  const img = document.createElement('img');
  img.src = face ? `/api/v1/faces/${encodeURIComponent(face)}/chip?size=448` : `/api/v1/photos/${encodeURIComponent(photo)}/rendition?size=640`;
  img.alt = age;
  img.width = img.height = 448;
  pane.querySelector('.frame').replaceChildren(img);
  pane.querySelector('[data-age]').textContent = age;
  const whole = pane.querySelector('[data-whole]');
  whole.href = `/api/v1/photos/${encodeURIComponent(photo)}/rendition?size=1024`;
  whole.hidden = false;
  pane.dataset.of = item.closest('[data-of]').dataset.of;
  name(pane);
  mark(item, side);
  draw();
}

// Names of the two cases, as the page came with them: a side may show a photo of either.
const captions = Object.fromEntries([...panes.querySelectorAll('.pane')].map(p =>
  [p.dataset.of, [...p.querySelector('figcaption').childNodes].filter(n => !(n.dataset && ('age' in n.dataset || 'whole' in n.dataset))).map(n => n.cloneNode(true))]));

function name(pane) {
  const caption = pane.querySelector('figcaption');
  const kept = [...caption.querySelectorAll('[data-age], [data-whole]')];
  caption.replaceChildren(...captions[pane.dataset.of].map(n => n.cloneNode(true)), kept[0], ' ', kept[1]);
}

function mark(item, side) {
  const which = ['left', 'right'][side];
  for (const b of document.querySelectorAll(`[data-put=${which}]`)) b.setAttribute('aria-pressed', String(b.closest('li') === item));
}

if (tools) {
  tools.hidden = false;
  for (const row of document.querySelectorAll('.sides')) row.hidden = false;
  for (const b of document.querySelectorAll('[data-put]')) {
    b.setAttribute('aria-pressed', 'false');
    b.addEventListener('click', () => put(b.closest('li'), b.dataset.put === 'left' ? 0 : 1));
  }
  for (const [side, of] of ['missing', 'found'].entries()) {
    const loudest = document.querySelector(`.thumbs[data-of=${of}] [data-loudest]`);
    if (loudest) mark(loudest, side);
  }
  byId('zoom').addEventListener('input', e => zoom(Number(e.target.value)));
  byId('in').addEventListener('click', closer);
  byId('out').addEventListener('click', farther);
  byId('reset').addEventListener('click', reset);
  byId('mix').addEventListener('input', mix);
  byId('flip').addEventListener('click', flip);
  for (const r of tools.querySelectorAll('[name=mode]')) r.addEventListener('change', () => mode(r.value));
  for (const f of frames()) {
    f.tabIndex = 0;
    f.setAttribute('role', 'group');
    f.setAttribute('aria-label', f.querySelector('img')?.alt ?? f.textContent);
    f.addEventListener('pointerdown', e => {
      if (!zoomed()) return; // a finger then scrolls the page
      e.preventDefault();
      f.setPointerCapture(e.pointerId);
      const drag = m => pan(m.movementX, m.movementY);
      f.addEventListener('pointermove', drag);
      f.addEventListener('lostpointercapture', () => f.removeEventListener('pointermove', drag), { once: true });
    });
    f.addEventListener('keydown', e => {
      const by = { ArrowLeft: [stride, 0], ArrowRight: [-stride, 0], ArrowUp: [0, stride], ArrowDown: [0, -stride] }[e.key];
      if (!by || !zoomed()) return;
      e.preventDefault();
      pan(...by);
    });
  }
  mode('beside');
}
