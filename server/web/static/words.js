// Records searched by words, and the two ways to search as tabs.
import { call } from './api.js';
import { byId, el, Task } from './dom.js';
import { facts, heading } from './facts.js';

const form = byId('words-form'), list = byId('cases'), more = byId('more-cases');
const task = new Task(byId('words-status'), byId('words-problem'), busy => { more.disabled = busy; });
let asked, next;

function row(c) {
  return el('li', {}, heading(c, el('span', { className: 'badge' }, c.gallery === 'missing' ? 'Missing' : 'Found')), facts(c));
}

function load(cursor) {
  task.run('Searching…', async signal => {
    const query = new URLSearchParams(asked);
    if (cursor) query.set('cursor', cursor);
    const page = await call('GET', `/cases?${query}`, { signal });
    if (!cursor) list.replaceChildren();
    list.append(...page.cases.map(row));
    next = page.next;
    more.hidden = !next;
    const n = list.childElementCount;
    task.say(n === 0 ? 'No case holds all of these words. Try fewer, or other spellings.'
      : `${n} case${n === 1 ? '' : 's'}${next ? ', and more' : ''}${asked.has('words') ? ', best match first' : ', newest first'}.`);
  }, () => load(cursor));
}

form.addEventListener('submit', e => {
  e.preventDefault();
  const data = new FormData(form);
  asked = new URLSearchParams();
  for (const k of ['words', 'gallery']) if (data.get(k).trim()) asked.set(k, data.get(k).trim());
  if (data.has('closed')) asked.set('status', 'open,closed');
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
