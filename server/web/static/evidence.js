// What speaks for a candidate, and against it, in words.
import { el } from './dom.js';
import { sighting, title } from './facts.js';
import { timeline } from './timeline.js';

// The verbal bands, weakest first.
const bands = {
  strong_against: 'strongly against', moderate_against: 'against', weak_against: 'weakly against', neutral: 'no support either way',
  weak: 'weak support', moderate: 'moderate support', fairly_strong: 'fairly strong support', strong: 'strong support',
};

// logLR is a log10 likelihood ratio for examiners.
const logLR = (x, bounded) => el('span', { className: 'log' },
  `log₁₀ LR ${bounded ? x > 0 ? 'above ' : 'below ' : ''}${x.toFixed(1).replace('-0.0', '0.0').replace('-', '−')}`);

// said is what the faces say, and what of the records nobody may overlook.
export function said(c) {
  const { band, text, log10_lr: lr } = c.faces;
  const impossible = c.plausibility.factors.filter(f => f.fact === 'order');
  return el('div', { className: 'said' },
    el('p', { className: 'words' }, text),
    el('p', { className: 'band' },
      el('span', { className: 'scale', 'aria-hidden': 'true' }, ...Object.keys(bands).map(b => el('i', { className: b === band ? 'here' : '' }))),
      el('b', {}, title(bands[band] ?? band)), logLR(lr, c.faces.bounded)),
    ...impossible.map(f => el('p', { className: 'warning' }, el('b', {}, 'Check the dates.'), ` ${f.text}`)));
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
  return el('details', { className: 'why' }, el('summary', {}, 'Why this candidate'),
    el('h4', {}, 'The two photos that count most'), el('p', {}, c.pair.text),
    el('h4', {}, 'The records'),
    factors.length > 0 ? el('ul', { className: 'factors' }, ...factors.map(f =>
      el('li', {}, el('span', { className: `direction ${direction(f.log10_lr)}` }, direction(f.log10_lr)), el('span', {}, f.text))))
      : el('p', {}, 'No fact is known on both sides.'),
    factors.length === 0 ? null : used ? el('p', { className: 'hint' }, 'Faces and records together: ', logLR(c.score), '. Candidates are ranked by this.')
      : el('p', { className: 'hint' }, 'The records do not count here: you rank by faces alone.'),
    el('h4', {}, 'Others who look alike'), el('p', {}, c.counter_check.text),
    el('h4', {}, `${n} photos compared`),
    timeline(c.sightings, { lanes, picture, pair }),
    el('ul', { className: 'compared' }, ...c.sightings.map(s => {
      const name = lanes[s.of];
      return el('li', {}, s.of === 'case' && s.photo
        ? el('a', { href: `/cases/${encodeURIComponent(c.case.id)}#${encodeURIComponent(s.photo)}` }, name) : name,
      `: ${sighting(s)}`, s.quality < 0.5 ? ', hard to make out' : '', closest(s) ? ' (counts most)' : '');
    })));
}
