// The search page: a photo goes in, its faces are shown, one of them searches, candidates come out.
import { call, send } from './api.js';
import { byId, el, Task } from './dom.js';
import { aged, facts, heading, sighting, title } from './facts.js';
import { cut, drawFaces, mark, shows } from './faces.js';
import { said, why } from './evidence.js';
import { keep, restore } from './saved.js';
import { date, parts, sentences, t } from './text.js';

const form = byId('narrow'), input = byId('file'), drop = byId('drop'), frame = byId('photo-frame');
const progress = byId('progress'), list = byId('candidates'), more = byId('more'), which = byId('which');
const about = byId('about');
const most = Number(input.dataset.most);

const task = new Task(byId('status'), byId('problem'), busy => {
  more.disabled = busy;
  byId('results').setAttribute('aria-busy', busy);
  if (!busy) progress.hidden = true;
});

// What is being searched: a picked file, or what is enrolled ({ face } or { case }); img shows the file; search is the
// server's answer; face is the place of the face that searches; crop is its picture.
let probe = null;

// query is what the form narrows the search by, and what it knows of the child in the photo.
function query() {
  const data = new FormData(form), q = new URLSearchParams();
  for (const k of ['gallery', 'sex', 'born_from', 'born_to', 'region', 'words', 'child_sex', 'child_age', 'taken', 'records']) {
    const v = data.get(k)?.trim();
    if (v) q.set(k, v);
  }
  // To the server 0 is no age at all; who is not one yet is half a year old, give or take.
  if (Number(q.get('child_age') ?? 1) === 0) q.set('child_age', '0.5');
  if (data.has('closed')) q.set('status', 'open,closed');
  return q;
}

function clear() {
  if (probe?.url) URL.revokeObjectURL(probe.url);
  if (probe?.file && probe.crop) URL.revokeObjectURL(probe.crop);
  frame.replaceChildren();
  frame.classList.remove('blind', 'sized');
  list.replaceChildren();
  byId('results').hidden = true;
  which.hidden = true;
  byId('probe-caption').textContent = '';
}

function pickFile(file) {
  clear();
  // What was said of the child in the photo before must not count for this one.
  if (probe?.search) for (const field of about.elements) field.value = '';
  about.hidden = about.disabled = false;
  history.replaceState(null, '', location.pathname);
  probe = { file, face: null };
  byId('drop-text').textContent = t('js.search.choose_another');
  drop.classList.add('small');
  if (file.size > most) {
    task.stop();
    byId('probe').hidden = true;
    probe = null;
    task.fail(t('js.search.too_large', { Megabytes: most >> 20 }));
    return;
  }
  probe.url = URL.createObjectURL(file);
  probe.img = el('img', { alt: t('js.search.photo_alt'), src: probe.url });
  // Not every browser can show every format that the server reads; HEIC is the usual one.
  probe.decoded = probe.img.decode().then(() => true, () => false);
  const mine = probe;
  probe.decoded.then(ok => { if (mine === probe) frame.classList.toggle('blind', !ok); });
  frame.append(probe.img);
  byId('probe').hidden = false;
  start(probe);
}

function pickEnrolled(enrolled, saved) {
  clear();
  probe = { enrolled, saved, face: null };
  about.hidden = about.disabled = true; // the record says what is known
  byId('probe').hidden = false;
  if (enrolled.face) frame.append(el('img', { alt: t('js.search.face_alt'), src: chip(enrolled.face) }));
  start(probe);
}

// drawCase shows which photos of a case search.
function drawCase(p, got) {
  const mine = got.candidates[0]?.sightings.filter(s => s.of === 'probe') ?? [];
  if (mine.length > 0) {
    frame.replaceChildren(el('div', { className: 'chips' }, ...mine.map(s =>
      el('img', { src: chip(s.face, 112), width: 112, height: 112, alt: title(sighting(s)), title: title(sighting(s)) }))));
  }
  byId('probe-caption').replaceChildren(...parts(mine.length > 1 ? 'js.search.case_photos' : 'js.search.case_all', {
    Count: mine.length, Case: el('a', { href: `/cases/${encodeURIComponent(p.enrolled.case)}` }, t('js.search.this_case')),
  }));
}

// start makes the search. It also makes it anew where the server has forgotten it; a face chosen before stays chosen.
function start(p) {
  const asked = query().toString(), q = new URLSearchParams(asked);
  if (p.enrolled && !p.search && !p.saved) q.delete('gallery'); // the server knows which one is opposite
  if (p.file && p.face !== null) q.set('face', p.face);
  task.run(t(p.file ? 'js.search.sending' : 'js.search.searching'), async signal => {
    const got = p.file ? await upload(`/searches?${q}`, p.file, signal)
      : await call('POST', `/searches?${q}`, { body: p.enrolled, signal });
    const changed = query().toString() !== asked; // while the photo was on its way
    if (!changed) form.elements.gallery.value = got.gallery;
    await accept(p, got, signal, { jump: true });
    if (changed) narrow();
  }, () => start(p));
}

function upload(path, file, signal) {
  progress.value = 0;
  progress.hidden = false;
  return send(path, file, {
    signal,
    sent(part) {
      progress.value = part;
      if (part < 1) return;
      progress.removeAttribute('value');
      task.say(t('js.search.looking'));
    },
  });
}

// load reads more of the search: another face, other filters, or the next page.
function load(p, how = {}) {
  const q = query();
  if (p.file) q.set('face', p.face);
  if (how.cursor) q.set('cursor', how.cursor);
  task.run(t(how.cursor ? 'js.search.more' : 'js.search.comparing'), async signal => {
    const got = await call('GET', `/searches/${encodeURIComponent(p.search.id)}?${q}`, { signal });
    await accept(p, got, signal, how);
  }, err => err.code === 'search_ended' ? start(p) : load(p, how));
}

// accept shows an answer of the server. jump moves the focus to what is new.
async function accept(p, got, signal, { jump, cursor }) {
  p.search = got;
  if (got.photo) {
    const ok = await p.decoded && shows(p.img, got.photo);
    signal.throwIfAborted();
    frame.classList.toggle('blind', !ok);
    const several = got.photo.faces.length > 1;
    if (got.face !== undefined && (got.face !== p.face || !p.crop)) {
      if (p.crop) URL.revokeObjectURL(p.crop);
      p.crop = ok ? await cut(p.img, got.photo, got.photo.faces[got.face]) : null;
      signal.throwIfAborted();
    }
    p.face = got.face ?? p.face;
    if (!frame.querySelector('.face')) drawFaces(frame, got.photo, { pick: several ? i => pick(p, i) : undefined });
    mark(frame, p.face);
    which.hidden = !several;
    byId('probe-caption').textContent = ok ? '' : t('js.search.not_shown');
  }
  if (p.enrolled?.case && !cursor) drawCase(p, got);
  if (got.face === undefined) { // no face searches yet: the server says why
    if (got.photo.needs !== 'choose_subject') return task.fail(got.message);
    task.say(got.message);
    if (jump) jumpTo(which);
    return;
  }
  if (!cursor) list.replaceChildren();
  list.append(...got.candidates.map(c => candidate(p, c)));
  more.hidden = !got.next;
  byId('results').hidden = false;
  const n = list.childElementCount;
  byId('results-title').textContent = t(n ? 'js.search.candidates' : 'js.search.no_candidates');
  task.say(n === 0 ? t(`js.search.none_${got.gallery}`) : t(`js.search.${got.gallery}${got.next ? '_more' : ''}`, { Count: n }));
  if (jump) jumpTo(byId('results-title'));
}

// jumpTo takes the reader to what is new, without moving what is already well in sight.
function jumpTo(heading) {
  heading.focus({ preventScroll: true });
  const { top } = heading.getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.4) heading.scrollIntoView();
}

function pick(p, i) {
  const face = p.search.photo.faces[i];
  if (!face.searchable) {
    task.stop();
    task.fail(sentences([t('js.search.poor'), ...(face.reasons ?? [])]));
    return;
  }
  p.face = i;
  mark(frame, i);
  if (p.crop) URL.revokeObjectURL(p.crop);
  p.crop = null;
  list.replaceChildren();
  byId('results').hidden = true;
  load(p, { jump: true });
}

function narrow() {
  if (!form.reportValidity() || !probe?.search || (probe.file && probe.face === null)) return;
  load(probe);
}

const chip = (id, size = 224) => `/api/v1/faces/${encodeURIComponent(id)}/chip?size=${size}`;

// held is a candidate of another region: how strong it is, and whom to ask.
function held(c) {
  const [option] = [...byId('filter_region')?.options ?? []].filter(o => o.value === c.held_by);
  const why = `why-${c.rank}`;
  const form = el('form', { className: 'row', 'data-api': `POST /cases/${encodeURIComponent(c.case.id)}/asks`, 'data-then': 'stay' },
    el('div', { className: 'grow' }, el('label', { htmlFor: why }, t('js.search.held.reason')),
      el('input', { id: why, name: 'why', required: true, maxLength: 1000, autocomplete: 'off' })),
    el('button', {}, t('js.search.held.ask')));
  form.addEventListener('stored', () => form.replaceWith(el('p', { role: 'status' }, t('js.search.held.asked'))));
  return el('li', { className: 'held' },
    el('h3', {}, el('span', { className: 'rank', 'aria-label': t('js.search.rank', { Rank: c.rank }) }, `${c.rank}.`),
      t('js.search.held', { Region: option?.textContent ?? c.held_by })),
    said(c),
    el('div', {}, el('p', { className: 'hint' }, t('js.search.held.why')), form));
}

function candidate(p, c) {
  if (c.held_by) return held(c);
  const { probe: mine, reference: theirs } = c.pair;
  const caption = (name, s) => el('figcaption', {}, name,
    el('span', {}, title(aged(s))), el('span', {}, s.taken ? t('js.photo.taken', { Date: date(s.taken) }) : t('js.photo.undated')));
  const picture = s => s.face ? chip(s.face, 112) : p.crop;
  const lanes = {
    probe: t(p.file ? 'js.search.your_photo' : p.enrolled.case ? 'js.search.searching_case' : 'js.search.searching_face'),
    case: t('js.search.on_record'),
  };
  const mineAt = mine.face ? chip(mine.face) : p.crop;
  return el('li', {},
    heading(c.case, el('span', { className: 'rank', 'aria-label': t('js.search.rank', { Rank: c.rank }) }, `${c.rank}.`)),
    el('div', { className: 'pair' },
      el('figure', {},
        mineAt ? el('img', { src: mineAt, alt: t('js.search.face_alt') })
          : el('div', { className: 'blank' }, t('js.search.face_of_photo', { Number: p.face + 1 })),
        caption(t(p.file ? 'js.search.your_photo' : 'js.search.searching_face'), mine)),
      el('figure', {},
        el('img', { src: chip(c.face.id), alt: t('js.search.record_alt'), loading: 'lazy', width: 224, height: 224 }),
        caption(t('js.search.on_record'), theirs))),
    said(c),
    facts(c.case),
    why(c, { lanes, picture }));
}

function chosen() {
  const [file] = input.files;
  if (!file) return;
  pickFile(file);
  input.value = ''; // the same photo may be chosen again
}
input.addEventListener('change', chosen);
form.addEventListener('change', narrow);
form.addEventListener('submit', e => { e.preventDefault(); narrow(); });
more.addEventListener('click', () => load(probe, { cursor: probe.search.next }));

const root = document.documentElement;
addEventListener('dragover', e => { e.preventDefault(); root.classList.add('dragging'); });
addEventListener('dragleave', e => { if (!e.relatedTarget) root.classList.remove('dragging'); });
addEventListener('drop', e => {
  e.preventDefault();
  root.classList.remove('dragging');
  const [file] = e.dataTransfer.files;
  if (!file) return;
  location.hash = '#photo';
  pickFile(file);
});

const asked = new URLSearchParams(location.search);
const saved = restore(form, asked, { within: form.querySelector('details') });
if (asked.has('case')) pickEnrolled({ case: asked.get('case') }, saved);
else if (asked.has('face')) pickEnrolled({ face: asked.get('face') }, saved);
keep('photo', () => {
  const q = query();
  for (const [k, v] of Object.entries(probe?.enrolled ?? {})) q.set(k, v);
  return q;
});
chosen(); // on a slow line a photo may be chosen before this script is there
