// Records searched by words, and the two ways to search as tabs.
import { call } from './api.js';
import { byId, el, Task } from './dom.js';
import { facts, heading } from './facts.js';
import { keep, restore } from './saved.js';
import { t } from './text.js';

const form = byId('words-form'), list = byId('cases'), more = byId('more-cases');
const task = new Task(byId('words-status'), byId('words-problem'), busy => { more.disabled = busy; });
let asked, next;

function row(c) {
  return el('li', {}, heading(c, el('span', { className: 'badge' }, t(c.gallery === 'missing' ? 'js.words.missing' : 'js.words.found'))), facts(c));
}

function load(cursor) {
  task.run(t('js.words.searching'), async signal => {
    const query = new URLSearchParams(asked);
    if (cursor) query.set('cursor', cursor);
    const page = await call('GET', `/cases?${query}`, { signal });
    if (!cursor) list.replaceChildren();
    list.append(...page.cases.map(row));
    next = page.next;
    more.hidden = !next;
    const n = list.childElementCount;
    const told = asked.has('words') ? next ? 'js.words.best_more' : 'js.words.best' : next ? 'js.words.newest_more' : 'js.words.newest';
    task.say(n === 0 ? t('js.words.none') : t(told, { Count: n }));
  }, () => load(cursor));
}

function query() {
  const data = new FormData(form), q = new URLSearchParams();
  for (const k of ['words', 'gallery', 'region']) if (data.get(k)?.trim()) q.set(k, data.get(k).trim());
  if (data.has('closed')) q.set('status', 'open,closed');
  return q;
}

form.addEventListener('submit', e => {
  e.preventDefault();
  asked = query();
  list.replaceChildren();
  more.hidden = true;
  load();
});
more.addEventListener('click', () => load(next));

function showTab() {
  const words = location.hash === '#words';
  byId('by-words').hidden = !words;
  byId('by-photo').hidden = words;
  for (const a of document.querySelectorAll('.tabs a')) {
    if ((a.hash === '#words') === words) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current');
  }
}
addEventListener('hashchange', showTab);
showTab();
keep('words', query);
const saved = new URLSearchParams(location.search);
if (saved.get('by') === 'words' && restore(form, saved, {})) form.requestSubmit();
