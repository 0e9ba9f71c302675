// What is known of a child, in words.
import { el } from './dom.js';
import { date, t } from './text.js';

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
  if (!from) return t('js.age.at_least', { Years: least });
  const most = years(first(from), last(at));
  if (most < 0) return '';
  if (most < 1) return t('js.age.under_one');
  return least === most ? t('js.age.exact', { Years: least }) : t('js.age.range', { From: least, To: most });
}

// decimal is a date of the calendar in years: 2009.5 is the middle of 2009.
function decimal(date) {
  const [y, m, d] = date.split('-').map(Number);
  return y + (m - 1) / 12 + (d - 1) / 365.25;
}

// ageAt is how old a child is in a photo, as far as it is known, in the words of the API's Sighting. It goes by the dates
// where they say more than the child's looks, as the server does (finder.ageAt).
export function ageAt(born, taken, face) {
  const looks = { age: face.age, age_sd: face.age_sd, age_by: 'looks' };
  const from = born?.from || born?.to, to = born?.to || from;
  if (!from || !taken) return looks;
  const least = decimal(first(taken)) - decimal(last(to)), most = decimal(last(taken)) - decimal(first(from));
  if (most < 0 || least > 110) return looks; // one of the dates is wrong
  const young = Math.max(0, least), sd = (most - young) / Math.sqrt(12);
  return sd > face.age_sd ? looks : { age: (young + most) / 2, age_sd: sd, age_by: 'dates' };
}

// aged is the age in a photo (the API's Sighting) in words: "aged 6", "looks 6 to 12".
export function aged({ age, age_sd: sd = 0, age_by: by }) {
  if (age === undefined) return t('js.aged.unknown');
  if (by === 'looks') return t('js.aged.looks', { From: Math.round(Math.max(0, age - sd)), To: Math.round(age + sd) });
  if (sd >= 0.6) return t('js.aged.about', { Years: Math.round(age) });
  return age < 1 ? t('js.aged.under_one') : t('js.aged.exact', { Years: Math.floor(age) });
}

// sighting is what is known of when a photo was taken, in words.
export const sighting = s => t('js.sighting', {
  When: s.taken ? t('js.sighting.taken', { Date: date(s.taken) }) : t('js.sighting.undated'), Age: aged(s),
});

// looks is an estimated age in words.
export function looks(years) {
  return years < 1 ? t('js.looks.under_one') : t('js.looks.about', { Count: Math.round(years) });
}

export const ageInShort = years => years < 1 ? t('js.looks.short_under_one') : t('js.looks.short_about', { Years: Math.round(years) });

export const names = c => c.names?.length ? c.names.join(' · ') : t('js.case.unnamed');

export const title = s => s && s[0].toUpperCase() + s.slice(1);

function born({ from, to } = {}) {
  if (!to) return from && date(from);
  return from ? t('js.facts.born_range', { From: date(from), To: date(to) }) : t('js.facts.born_until', { To: date(to) });
}

// facts lists what helps to tell whether a case is the child.
export function facts(c) {
  const dl = el('dl', { className: 'facts' });
  const row = (name, text) => text && dl.append(el('dt', {}, name), el('dd', { dir: 'auto' }, text));
  row(t('js.facts.sex'), c.sex && t(c.sex === 'female' ? 'js.facts.female' : 'js.facts.male'));
  row(t('js.facts.born'), born(c.born));
  row(t('js.facts.age_now'), age(c.born, today()));
  row(t(c.gallery === 'missing' ? 'js.facts.disappeared' : 'js.facts.found'),
    c.on && c.place ? t('js.facts.when_where', { When: date(c.on), Where: c.place }) : c.on ? date(c.on) : c.place);
  row(t('js.facts.marks'), c.marks);
  row(t('js.facts.ref'), c.ref);
  return dl;
}

// heading links to the case.
export function heading(c, ...before) {
  return el('h3', {}, ...before, el('a', { href: `/cases/${encodeURIComponent(c.id)}`, dir: 'auto' }, names(c)),
    c.status === 'closed' ? el('span', { className: 'badge' }, t('js.case.closed')) : null);
}
