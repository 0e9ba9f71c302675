// Found children who are recorded together: photos become cards, one for each child, and each card becomes a case. What was
// recorded is never recorded twice: a case carries the group's number and the card's, a photo's upload a key of its own.
import { call, send } from './api.js';
import { byId, el } from './dom.js';
import { parts, t } from './text.js';

const page = byId('group'), list = byId('children'), common = byId('common');
const most = Number(page.dataset.most);
const longest = 255; // of a photo's name

const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map(b => b.toString(16).padStart(2, '0')).join('');
const group = random();
const children = [];
let running = false;

// Photos: what a browser calls an image, and what some do not know.
const isPhoto = f => f.type.startsWith('image/') || /\.(jpe?g|png|webp|tiff?|hei[cf]|avif)$/i.test(f.name);

// nameOf is a file's name as it is kept: without folders, and no longer than the server takes.
const nameOf = f => [...f.name.split(/[/\\]/).pop()].filter(c => c >= ' ').slice(0, longest).join('');

// A child's number is its place among the cards; once it was sent it stays, because its case carries it.
function renumber() {
  let last = Math.max(0, ...children.map(c => c.sent ? c.number : 0));
  for (const c of children) {
    if (!c.sent) c.number = ++last;
    c.card.querySelector('h3').textContent = t('js.group.child', { Number: c.number });
  }
  for (const c of children) {
    const others = children.filter(o => o !== c && !o.done);
    const same = c.form.elements.same;
    same.replaceChildren(el('option', { value: '' }, t('js.group.nobody')),
      ...others.map(o => el('option', { value: String(o.number) }, t('js.group.child', { Number: o.number }))));
    same.closest('label').hidden = c.sent || others.length === 0;
    c.card.querySelector('.remove').hidden = c.sent;
  }
  tell();
}

function tell() {
  const left = children.filter(c => !c.done), failed = left.filter(c => c.failed);
  byId('actions').hidden = left.length === 0;
  byId('record').disabled = running;
  byId('record').textContent = t(failed.length > 0 && failed.length === left.length ? 'js.group.again' : 'js.group.record', { Count: left.length });
}

function addChild() {
  const card = byId('child').content.firstElementChild.cloneNode(true);
  const c = { card, form: card.querySelector('form'), photos: [], number: 0, body: null, case: null, sent: false, done: false, failed: false };
  const fields = c.form.elements;
  fields.more.addEventListener('change', () => {
    const files = [...fields.more.files];
    addPhotos(c, files);
    notice(t('js.group.photos_added', { Count: files.filter(fits).length }), files);
    fields.more.value = '';
  });
  fields.same.addEventListener('change', () => merge(c, children.find(o => String(o.number) === fields.same.value)));
  card.querySelector('.remove').addEventListener('click', () => { remove(c); byId('notice').textContent = t('js.group.removed'); });
  c.form.addEventListener('submit', e => { e.preventDefault(); void recordAll([c]); });
  c.form.addEventListener('input', () => { fields.age_to.setCustomValidity(''); fields.born_to.setCustomValidity(''); });
  children.push(c);
  list.append(card);
  return c;
}

function remove(c) {
  for (const p of c.photos) URL.revokeObjectURL(p.url);
  children.splice(children.indexOf(c), 1);
  c.card.remove();
  renumber();
}

// merge moves a card's photos to another child's, where two cards show one child.
function merge(c, into) {
  if (!into || into.done) return;
  for (const p of c.photos) { into.photos.push(p); into.card.querySelector('.shots').append(p.item); p.child = into; }
  const was = c.number, name = into.number;
  c.photos = [];
  remove(c);
  into.card.querySelector('h3').focus();
  byId('notice').textContent = t('js.group.merged', { From: was, To: name });
}

const fits = file => file.size <= most;

function addPhotos(c, files) {
  for (const file of files.filter(fits)) {
    const p = { file, key: random(), url: URL.createObjectURL(file), child: c, stored: null };
    p.img = el('img', { src: p.url, alt: nameOf(file), width: 112, height: 112, loading: 'lazy', decoding: 'async' });
    // Not every browser can show every format that the server reads.
    p.img.addEventListener('error', () => p.img.replaceWith(el('span', { className: 'blank' }, nameOf(file))));
    p.bar = el('progress', { max: 1, value: 0, hidden: true, 'aria-label': t('js.group.sending_photo', { Name: nameOf(file) }) });
    p.drop = el('button', { type: 'button', className: 'quiet', 'aria-label': t('js.group.drop_photo', { Name: nameOf(file) }) }, t('js.group.drop'));
    p.drop.addEventListener('click', () => {
      URL.revokeObjectURL(p.url);
      p.child.photos.splice(p.child.photos.indexOf(p), 1);
      p.item.remove();
    });
    p.item = el('li', {}, p.img, p.bar, p.drop);
    c.photos.push(p);
    c.card.querySelector('.shots').append(p.item);
  }
}

// take makes cards of files: with folder one for each folder inside the chosen one, else one for each photo.
function take(files, folder) {
  const photos = files.filter(isPhoto), before = children.length;
  const of = new Map();
  for (const file of photos.filter(fits)) {
    const path = folder && file.webkitRelativePath.split('/').slice(1, -1).join('/') || random();
    of.set(path, [...of.get(path) ?? [], file]);
  }
  for (const same of of.values()) addPhotos(addChild(), same);
  renumber();
  if (files.length > 0) notice(photos.length === 0 ? t('js.group.no_photos') : t('js.group.added', { Count: children.length - before }), photos);
}

// notice says what became of files that were chosen.
function notice(text, files) {
  const large = files.filter(f => !fits(f)).map(nameOf);
  byId('notice').textContent = large.length === 0 ? text
    : `${text} ${t('js.group.too_large', { Names: large.join(', '), Megabytes: most >> 20 })}`;
}

for (const [id, folder] of [['files', false], ['folder', true], ['camera', false]]) {
  const input = byId(id);
  input.addEventListener('change', () => { take([...input.files], folder); input.value = ''; });
}
byId('without').addEventListener('click', () => { addChild(); renumber(); children.at(-1).card.querySelector('h3').focus(); });
byId('folder-label').hidden = !('webkitdirectory' in HTMLInputElement.prototype) || matchMedia('(pointer: coarse) and (max-width: 50rem)').matches;
byId('camera-label').hidden = !matchMedia('(pointer: coarse)').matches;

// born is the range of birth that a card's fields stand for. An age holds for the day when the child was found.
function born(data, on) {
  if (data.get('born_from') || data.get('born_to')) {
    return { from: data.get('born_from') || data.get('born_to'), to: data.get('born_to') || undefined };
  }
  const [from, to] = [data.get('age_from') || data.get('age_to'), data.get('age_to') || data.get('age_from')];
  if (!from) return undefined;
  const year = Number((on || new Date().toISOString()).slice(0, 4));
  return { from: String(year - Number(to) - 1), to: String(year - Number(from)) };
}

// valid says whether a card's fields can be sent, and shows the first that cannot.
function valid(c) {
  const { age_from: a, age_to: b, born_from: d, born_to: e } = c.form.elements;
  b.setCustomValidity(a.value && b.value && Number(a.value) > Number(b.value) ? t('js.group.swapped') : '');
  e.setCustomValidity(d.value && e.value && Number(d.value) > Number(e.value) ? t('js.group.swapped') : '');
  return c.form.reportValidity();
}

function body(c) {
  const said = new FormData(common), data = new FormData(c.form);
  const out = { gallery: 'found', ref: `${group}-${c.number}` };
  for (const k of ['on', 'region', 'place', 'notes']) if (said.get(k).trim()) out[k] = said.get(k).trim();
  for (const k of ['sex', 'marks']) if (data.get(k).trim()) out[k] = data.get(k).trim();
  if (data.get('name').trim()) out.names = [data.get('name').trim()];
  const range = born(data, out.on);
  if (range) out.born = range;
  return out;
}

// makeCase makes a child's case, or finds the one that an earlier press has made.
async function makeCase(c, signal) {
  c.sent = true;
  try {
    return await call('POST', '/cases', { body: c.body, signal });
  } catch (problem) {
    if (problem.code === 'duplicate') return await call('GET', `/galleries/found/cases/${encodeURIComponent(c.body.ref)}`, { signal });
    if (problem.status >= 400 && problem.status < 500) c.sent = false; // it was refused: nothing was made
    throw problem;
  }
}

// mayRepeat shows a card's own button. Hidden it is disabled, so that a press of Enter in a field sends nothing.
function mayRepeat(c, may) {
  const again = c.card.querySelector('.again');
  again.hidden = again.disabled = !may;
}

// record makes a child's case and sends its photos. What was done before is not done again.
async function record(c) {
  const { signal } = new AbortController();
  const say = text => { c.card.querySelector('.said').textContent = text; };
  const alert = c.card.querySelector('[role=alert]');
  alert.hidden = true;
  mayRepeat(c, false);
  c.failed = false;
  c.card.setAttribute('aria-busy', 'true');
  try {
    say(t('js.group.recording'));
    c.case ??= await makeCase(c, signal);
    const problems = [];
    for (const p of c.photos) {
      if (p.stored) continue;
      p.bar.hidden = false;
      p.drop.hidden = true;
      say(t('js.group.sending', { Number: c.photos.indexOf(p) + 1, Count: c.photos.length }));
      try {
        p.stored = await send(`/cases/${encodeURIComponent(c.case.id)}/photos?${new URLSearchParams({ name: nameOf(p.file) })}`, p.file, {
          signal, headers: { 'Idempotency-Key': `${group}-${p.key}` },
          sent: part => { if (part < 1) p.bar.value = part; else p.bar.removeAttribute('value'); },
        });
        p.bar.value = 1;
      } catch (problem) {
        if (problem.status === undefined) throw problem;
        p.bar.hidden = true;
        p.drop.hidden = false; // a photo that cannot be used can be left out
        problems.push(problem);
        if (problem.again) break; // the others would fare alike
      }
    }
    if (problems.length > 0) throw problems[0];
    c.done = true;
    say('');
    summarise(c);
    c.card.hidden = true;
  } catch (problem) {
    c.failed = true;
    say('');
    alert.textContent = problem.status === undefined ? t('js.problem.page') : problem.message;
    alert.hidden = false;
    mayRepeat(c, true);
    if (problem.status === undefined) throw problem;
  } finally {
    c.card.removeAttribute('aria-busy');
  }
}

async function recordAll(which) {
  if (running) return;
  const bad = byId('problem');
  bad.hidden = true;
  if (!common.reportValidity() || !which.every(valid)) return;
  running = true;
  // What was sent stays as it was, until the server has refused it: the same press again must mean the same case.
  for (const c of which) {
    c.body ??= body(c);
    c.form.querySelector('fieldset').disabled = true;
  }
  tell();
  try {
    for (const c of which) await record(c); // one after the other: a phone's line carries no more
  } finally {
    running = false;
    for (const c of which.filter(c => !c.sent)) {
      c.body = null;
      c.form.querySelector('fieldset').disabled = false;
    }
    renumber();
  }
  const failed = which.filter(c => c.failed);
  if (failed.length > 0) {
    bad.querySelector('p').textContent = t('js.group.failed', { Count: failed.length });
    bad.hidden = false;
    failed[0].card.scrollIntoView({ block: 'nearest' });
  } else if (children.every(c => c.done)) {
    byId('summary-title').focus();
    byId('notice').textContent = t('js.group.all', { Count: children.length });
  }
}

// summarise lists a recorded child with what is still to do.
function summarise(c) {
  const link = el('a', { href: `/cases/${encodeURIComponent(c.case.id)}` }, c.case.number);
  const needs = c.photos.filter(p => p.stored.needs).map(p => {
    const to = el('a', { href: `/cases/${encodeURIComponent(c.case.id)}#${encodeURIComponent(p.stored.id)}` }, nameOf(p.file));
    return el('li', {}, ...parts('js.group.needs', { Photo: to, What: p.stored.message }));
  });
  byId('recorded').append(el('li', {}, el('h3', {}, el('span', {}, ...parts('js.group.recorded', { Child: c.number, Case: link }))),
    c.photos.length === 0 ? el('p', {}, t('js.group.needs_photo'))
      : needs.length > 0 ? el('ul', {}, ...needs) : el('p', {}, t('js.group.ready'))));
  byId('summary').hidden = false;
}

byId('record').addEventListener('click', () => void recordAll(children.filter(c => !c.done)));
addEventListener('beforeunload', e => { if (children.some(c => !c.done)) e.preventDefault(); });
