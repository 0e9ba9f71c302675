// A case's photos: faces drawn, the child's own chosen, dates set. A change reloads the page, so that what is shown is
// what is stored.
import { call } from './api.js';
import { byId, el, Task } from './dom.js';
import { age, ageAt, today } from './facts.js';
import { drawFaces, faceName } from './faces.js';
import { t } from './text.js';
import { timeline } from './timeline.js';

const page = byId('case');
let busy = false;
const task = new Task(byId('status'), byId('problem'), b => { busy = b; });

function change(photo, what) {
  if (busy) return;
  task.run(t('js.case.saving'), async signal => {
    await call('PATCH', `/photos/${photo.id}`, { body: what, signal });
    location.reload();
  }, () => change(photo, what));
}

function show(c, photo) {
  const item = page.querySelector(`[data-photo="${CSS.escape(photo.id)}"]`);
  if (!item) return; // added since the page was made
  const then = age(c.born, photo.taken);
  if (then) item.querySelector('[data-age]').textContent = t('js.case.aged', { Age: then });

  const chosen = photo.faces.findIndex(f => f.id === photo.subject);
  const choose = i => change(photo, { subject: i < 0 ? '' : photo.faces[i].id });
  const asks = photo.needs === 'choose_subject';
  drawFaces(item.querySelector('.photo'), photo, { chosen, pick: asks ? choose : undefined });
  if (!asks && photo.faces.length > 0) {
    const others = photo.faces.map((f, i) => [faceName(f, i), i]).filter(([, i]) => i !== chosen);
    item.querySelector('.choices').replaceChildren(...[...others, [t(photo.faces.length > 1 ? 'js.case.none_of_them' : 'js.case.not_the_child'), -1]].map(([text, i]) =>
      el('button', { type: 'button', className: 'quiet', onclick: () => choose(i) }, text)));
    item.querySelector('[data-change]').hidden = false;
  }
}

// showAges draws the photos that show the child along the child's age, where there are several.
function showAges(c) {
  const shown = (c.photos ?? []).flatMap(p => p.faces.filter(f => f.id === p.subject).map(f =>
    ({ of: 'case', photo: p.id, face: f.id, taken: p.taken, quality: f.quality, searchable: f.searchable, ...ageAt(c.born, p.taken, f) })));
  byId('all').hidden = shown.filter(s => s.searchable).length < 2;
  if (shown.length < 2) return;
  byId('ages').replaceChildren(timeline(shown, {
    lanes: { case: t('js.case.lane') },
    picture: s => `/api/v1/faces/${encodeURIComponent(s.face)}/chip?size=112`,
  }));
  byId('ages').hidden = false;
}

for (const form of page.querySelectorAll('[data-taken]')) {
  form.addEventListener('submit', e => {
    e.preventDefault();
    const photo = { id: form.closest('[data-photo]').dataset.photo };
    change(photo, { taken: new FormData(form).get('taken').trim() });
  });
}

function load() {
  task.run('', async signal => {
    const c = await call('GET', `/cases/${page.dataset.case}`, { signal });
    const now = page.querySelector('[data-now]');
    if (now) now.textContent = age(c.born, today());
    for (const photo of c.photos ?? []) show(c, photo);
    showAges(c);
  }, load);
}
load();
