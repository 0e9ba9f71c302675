// Searches that were saved: the page's forms as its address has them. A photo is never part of it.
import { byId } from './dom.js';

const queries = {};

// keep says how to read the search of a tab, "photo" or "words".
export function keep(tab, query) { queries[tab] = query; }

// restore puts a saved search into a form, and says whether there was one. within is opened where it holds more than the
// gallery.
export function restore(form, q, { within }) {
  if (!q.has('by') || (q.get('by') === 'words') !== (form.id === 'words-form')) return false;
  for (const [name, value] of q) {
    const field = form.elements.namedItem(name);
    if (field instanceof HTMLInputElement && field.type === 'checkbox') field.checked = true;
    else if (field) field.value = value;
    if (field && name !== 'gallery' && within) within.open = true;
  }
  if (q.has('status')) form.elements.namedItem('closed').checked = true;
  return true;
}

// Before anyone reads the form's fields.
byId('save').addEventListener('submit', () => {
  const tab = location.hash === '#words' ? 'words' : 'photo';
  const q = queries[tab]();
  q.set('by', tab);
  byId('save').elements.query.value = q.toString();
}, { capture: true });
