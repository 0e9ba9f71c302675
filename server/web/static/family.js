// A family's own case: its photos sent, the child's face tapped, and when each photo was taken.
import { call } from './api.js';
import { byId, el } from './dom.js';
import { age } from './facts.js';
import { drawFaces, faceName } from './faces.js';
import { date, t } from './text.js';
import { Uploads } from './uploads.js';

const page = byId('family'), list = byId('photos'), add = byId('add');
const once = () => new AbortController().signal;

// tidyDate brings a date as people write it (2009.5.17, 2009年5月) to the API's form; what it cannot read it leaves to the server.
function tidyDate(text) {
  const parts = text.normalize('NFKC').trim().match(/^(\d{4})(?:\s*[-./年]\s*(\d{1,2})(?:\s*[-./月]\s*(\d{1,2})\s*[日号]?)?)?\s*[年月]?$/u);
  return parts ? parts.slice(1).filter(Boolean).map(p => p.padStart(2, '0')).join('-') : text.trim();
}
for (const field of page.querySelectorAll('[data-date]')) field.addEventListener('change', () => { field.value = tidyDate(field.value); });

// yearAt is the year in which a child of that age spent most of it.
function yearAt(born, years) {
  const [y, m] = (born.from || born.to).split('-').map(Number);
  return String(y + years + (m > 6 ? 1 : 0));
}

let child = null; // as the server tells it

// tellState says anew where things stand, once a photo has changed that.
async function tellState() {
  try {
    const now = new DOMParser().parseFromString(await (await fetch('/family')).text(), 'text/html').querySelector('.steps');
    if (now) page.querySelector('.steps')?.replaceWith(now);
  } catch { /* it is told when the page is opened again */ }
}

// show puts a photo into its item, with what can be said of it.
function show(item, photo) {
  const q = name => item.querySelector(`[data-${name}]`);
  q('title').textContent = (photo.taken ? t('js.photo.taken', { Date: date(photo.taken) }) : t('js.photo.undated'))
    + (age(child.born, photo.taken) ? t('js.case.aged', { Age: age(child.born, photo.taken) }) : '');
  q('needs').textContent = photo.message ?? '';
  q('needs').hidden = !photo.message;
  if (child.status !== 'open') {
    drawFaces(item.querySelector('.photo'), photo, { chosen: photo.faces.findIndex(f => f.id === photo.subject) });
    return;
  }

  const change = async what => {
    q('wrong').hidden = true;
    item.setAttribute('aria-busy', 'true');
    try {
      show(item, await call('PATCH', `/photos/${photo.id}`, { body: what, signal: once() }));
      void tellState();
    } catch (err) {
      q('wrong').textContent = err.message;
      q('wrong').hidden = false;
    } finally {
      item.removeAttribute('aria-busy');
    }
  };
  const chosen = photo.faces.findIndex(f => f.id === photo.subject);
  const choose = i => change({ subject: i < 0 ? '' : photo.faces[i].id });
  drawFaces(item.querySelector('.photo'), photo, { chosen, pick: photo.faces.length > 1 ? choose : undefined });
  const choices = [];
  if (photo.faces.length === 1) choices.push(chosen < 0 ? [faceName(photo.faces[0], 0), 0] : [t('js.case.not_the_child'), -1]);
  else if (photo.faces.length > 1 && (chosen >= 0 || photo.needs === 'choose_subject')) choices.push([t('js.case.none_of_them'), -1]);
  q('choices').replaceChildren(...choices.map(([text, i]) => el('button', { type: 'button', className: 'quiet', onclick: () => choose(i) }, text)));

  const ages = q('age'), taken = q('taken');
  taken.value = photo.taken ?? '';
  q('ages').hidden = !child.born?.from && !child.born?.to;
  if (!q('ages').hidden && ages.options.length === 1) {
    for (let y = 0; y <= 18; y++) ages.append(el('option', { value: y }, y === 0 ? t('js.age.under_one') : t('js.family.years', { Count: y })));
  }
  ages.onchange = () => { if (ages.value !== '') void change({ taken: yearAt(child.born, Number(ages.value)) }); };
  taken.onchange = () => { taken.value = tidyDate(taken.value); };
  q('when').hidden = q('save').hidden = q('delete').hidden = false;
  q('save').onclick = () => change({ taken: tidyDate(taken.value) });
  q('delete').onclick = async () => {
    if (!confirm(q('delete').dataset.ask)) return;
    try {
      await call('DELETE', `/photos/${photo.id}`, { signal: once() });
      item.remove();
      void tellState();
    } catch (err) {
      q('wrong').textContent = err.message;
      q('wrong').hidden = false;
    }
  };
}

// looksLater asks for a photo whose faces are not known yet, a few times.
function looksLater(item, photo, times = 8) {
  if (photo.state !== 'queued' || times === 0 || !item.isConnected) return;
  setTimeout(async () => {
    let now = photo;
    try {
      now = await call('GET', `/photos/${photo.id}`, { signal: once() });
      show(item, now);
      if (now.state !== 'queued') void tellState();
    } catch { /* asked again */ }
    looksLater(item, now, times - 1);
  }, 4000);
}

function arrived(photo) {
  byId('none')?.remove();
  const item = byId('blank').content.firstElementChild.cloneNode(true);
  item.dataset.photo = photo.id;
  const img = item.querySelector('img');
  img.width = photo.width;
  img.height = photo.height;
  img.src = `/api/v1/photos/${encodeURIComponent(photo.id)}/rendition?size=640`;
  list.prepend(item); // beside where it was chosen
  show(item, photo);
  void tellState();
  looksLater(item, photo);
}

if (add) {
  const uploads = new Uploads({ caseID: page.dataset.case, list: byId('sending'), status: byId('status'), most: Number(page.dataset.most), arrived });
  for (const input of add.querySelectorAll('input')) {
    input.addEventListener('change', () => {
      uploads.add([...input.files]);
      input.value = ''; // the same file may be chosen again
    });
  }
}

child = await call('GET', `/cases/${encodeURIComponent(page.dataset.case)}`, { signal: once() });
for (const photo of child.photos ?? []) {
  const item = list.querySelector(`[data-photo="${CSS.escape(photo.id)}"]`);
  if (item) {
    show(item, photo);
    looksLater(item, photo);
  }
}
if (add) add.hidden = false;
