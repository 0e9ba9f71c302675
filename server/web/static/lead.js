// A lead's page: the ages of both cases' photos, and the keys of whoever judges many of them.
import { closer, farther, mode, reset } from './compare.js';
import { byId } from './dom.js';
import { timeline } from './timeline.js';

const data = byId('evidence');
if (data) {
  const { sightings, pair, missing, found } = JSON.parse(data.textContent);
  if (sightings.length > 1) {
    byId('ages').replaceChildren(timeline(sightings, {
      lanes: { probe: missing, case: found },
      picture: s => s.face ? `/api/v1/faces/${encodeURIComponent(s.face)}/chip?size=112` : null,
      pair,
    }));
    byId('ages').hidden = false;
  }
}

const form = byId('verdict');
const keys = { '+': closer, '=': closer, '-': farther, 0: reset, s: () => mode('beside'), o: () => mode('over'), b: () => mode('blink') };

document.addEventListener('keydown', e => {
  if (e.key === 'Enter' && e.ctrlKey) {
    if (form && form.contains(e.target)) form.requestSubmit();
    return;
  }
  if (e.ctrlKey || e.altKey || e.metaKey || e.target.closest('textarea, select, input:not([type=radio], [type=range])')) return;
  const n = ['1', '2', '3'].indexOf(e.key);
  if (form && n >= 0) {
    const choice = form.querySelectorAll('[name=finding]')[n];
    choice.checked = true;
    choice.focus();
  } else if (e.key === '?') {
    byId('keys').open = !byId('keys').open;
    byId('keys').scrollIntoView({ block: 'nearest' });
  } else if (keys[e.key] && byId('tools')) {
    keys[e.key]();
  } else return;
  e.preventDefault();
});
