// What is known of a child, in words.
import { el } from './dom.js';

// A date is "2009", "2009-05" or "2009-05-17": the period it stands for.
const first = d => (d + '-01-01').slice(0, 10);
const last = d => d.length === 4 ? d + '-12-31' : d.length === 7 ? d + '-31' : d;

function years(from, to) {
  return to.slice(0, 4) - from.slice(0, 4) - (to.slice(5) < from.slice(5) ? 1 : 0);
}

export function today() {
  const d = new Date(), two = n => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

// age is how old a child born in a range was at a date, as far as both are known: "6", "6 to 7", "" when nothing is.
export function age(born, at) {
  const from = born?.from, to = born?.to || from;
  if (!to || !at) return '';
  const least = Math.max(0, years(last(to), first(at)));
  if (!from) return `at least ${least}`;
  const most = years(first(from), last(at));
  if (most < 0) return '';
  if (most < 1) return 'under 1';
  return least === most ? `${least}` : `${least} to ${most}`;
}

// looks is an estimated age in words.
export function looks(years) {
  const n = Math.round(years);
  return years < 1 ? 'under 1 year' : `about ${n} year${n === 1 ? '' : 's'}`;
}

export const ageInShort = years => years < 1 ? 'under 1' : `about ${Math.round(years)}`;

export const names = c => c.names?.length ? c.names.join(' · ') : 'Name unknown';

const title = s => s && s[0].toUpperCase() + s.slice(1);

// facts lists what helps to tell whether a case is the child.
export function facts(c) {
  const dl = el('dl', { className: 'facts' });
  const row = (name, text) => text && dl.append(el('dt', {}, name), el('dd', { dir: 'auto' }, text));
  row('Sex', title(c.sex));
  row('Born', [c.born?.from, c.born?.to].filter(Boolean).join(' to '));
  row('Age now', age(c.born, today()));
  row(c.gallery === 'missing' ? 'Disappeared' : 'Found', [c.on, c.place].filter(Boolean).join(', '));
  row('Marks', c.marks);
  row('Reference', c.ref);
  return dl;
}

// heading links to the case.
export function heading(c, ...before) {
  return el('h3', {}, ...before, el('a', { href: `/cases/${encodeURIComponent(c.id)}`, dir: 'auto' }, names(c)),
    c.status === 'closed' ? el('span', { className: 'badge' }, 'Closed') : null);
}
