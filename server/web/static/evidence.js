// What speaks for a candidate, and against it, in words.
import { el } from './dom.js';
import { sighting } from './facts.js';
import { number, parts, t } from './text.js';
import { timeline } from './timeline.js';

// The verbal bands, weakest first.
const bands = ['strong_against', 'moderate_against', 'weak_against', 'neutral', 'weak', 'moderate', 'fairly_strong', 'strong'];

// logLR is a log10 likelihood ratio for examiners.
const logLR = (x, bounded) => el('span', { className: 'log' },
  t(!bounded ? 'js.evidence.lr' : x > 0 ? 'js.evidence.lr_above' : 'js.evidence.lr_below',
    { Value: number(Math.round(x * 10) / 10 || 0, { minimumFractionDigits: 1 }) }));

// said is what the faces say, and what of the records nobody may overlook.
export function said(c) {
  const { band, text, log10_lr: lr } = c.faces;
  const impossible = c.plausibility.factors.filter(f => f.fact === 'order');
  return el('div', { className: 'said' },
    el('p', { className: 'words' }, text),
    el('p', { className: 'band' },
      el('span', { className: 'scale', 'aria-hidden': 'true' }, ...bands.map(b => el('i', { className: b === band ? 'here' : '' }))),
      el('b', {}, t(`js.band.${band}`)), logLR(lr, c.faces.bounded)),
    ...impossible.map(f => el('p', { className: 'warning' }, el('b', {}, t('js.evidence.check_dates')), ` ${f.text}`)));
}

// A fact this weak, as log10, says nothing worth a word.
const nothing = 0.1;
const direction = lr => Math.abs(lr) < nothing ? 'neutral' : lr > 0 ? 'supports' : 'against';

// why is all that a candidate rests on. It opens on demand: most candidates are told by their pictures.
export function why(c, { lanes, picture }) {
  const { factors, used } = c.plausibility;
  const pair = [c.pair.probe, c.pair.reference];
  const closest = s => pair.some(p => p.of === s.of && p.face === s.face);
  const n = c.sightings.length;
  return el('details', { className: 'why' }, el('summary', {}, t('js.evidence.why')),
    el('h4', {}, t('js.evidence.pair')), el('p', {}, c.pair.text),
    el('h4', {}, t('js.evidence.records')),
    factors.length > 0 ? el('ul', { className: 'factors' }, ...factors.map(f =>
      el('li', {}, el('span', { className: `direction ${direction(f.log10_lr)}` }, t(`js.evidence.direction.${direction(f.log10_lr)}`)), el('span', {}, f.text))))
      : el('p', {}, t('js.evidence.no_facts')),
    factors.length === 0 ? null : used ? el('p', { className: 'hint' }, ...parts('js.evidence.together', { LR: logLR(c.score) }))
      : el('p', { className: 'hint' }, t('js.evidence.faces_alone')),
    el('h4', {}, t('js.evidence.others')), el('p', {}, c.counter_check.text),
    el('h4', {}, t('js.evidence.compared_count', { Count: n })),
    timeline(c.sightings, { lanes, picture, pair }),
    el('ul', { className: 'compared' }, ...c.sightings.map(s => {
      const name = lanes[s.of];
      const whose = s.of === 'case' && s.photo
        ? el('a', { href: `/cases/${encodeURIComponent(c.case.id)}#${encodeURIComponent(s.photo)}` }, name) : name;
      let photo = sighting(s);
      if (s.quality < 0.5) photo = t('js.evidence.hard', { Photo: photo });
      if (closest(s)) photo = t('js.evidence.counts_most', { Photo: photo });
      return el('li', {}, ...parts('js.evidence.compared', { Whose: whose, Photo: photo }));
    })));
}
