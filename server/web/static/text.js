// What people read, in the page's language: the messages of the catalogue, numbers and dates.

const lang = document.documentElement.lang;
const { default: messages } = await import(`/text/${lang}.js`);
const plural = new Intl.PluralRules(lang);

function message(key, args) {
  const m = messages[key];
  return typeof m === 'object' ? m[plural.select(args.Count)] ?? m.other : m ?? key;
}

// said is a value as a message holds it; anything but a number stays what it is.
const said = v => typeof v === 'number' ? number(v) : v ?? '';

// t is the message of a key. args are the values of its {{.Name}}; the number named Count chooses the plural form.
export function t(key, args = {}) {
  return message(key, args).replace(/{{\.(\w+)}}/g, (_, name) => said(args[name]));
}

// parts is t for messages that hold more than text: an array of strings and of what args gives, elements too.
export function parts(key, args) {
  return message(key, args).split(/{{\.(\w+)}}/).map((part, i) => i % 2 ? said(args[part]) : part);
}

// sentences joins them, leaving out what is empty; those of Chinese need no blank between them.
export const sentences = all => all.filter(Boolean).join(' ').replaceAll('。 ', '。');

// number writes a number; options are those of Intl.NumberFormat. A minus is a minus, not a hyphen.
export const number = (n, options) => new Intl.NumberFormat(lang, options).format(n).replace('-', '−');

// date writes a date of the API: "2009", "2009-05" or "2009-05-17".
export function date(d) {
  const [Year, Month, Day] = d.split('-');
  const args = { Year, Month, Day, M: Number(Month), D: Number(Day) };
  return t(Day ? 'js.date.day' : Month ? 'js.date.month' : 'js.date.year', args);
}

// moment writes a moment of the API, in the reader's own time zone.
export const moment = (at, options = { dateStyle: 'medium', timeStyle: 'short' }) =>
  new Intl.DateTimeFormat(lang, options).format(new Date(at));
