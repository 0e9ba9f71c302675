// Keeps the page of bulk work up to date: what the server would show now takes the place of what is shown.
import './form.js';
import { byId } from './dom.js';
import { t } from './text.js';

const every = 5_000, live = byId('live'), stale = byId('stale');

// merge shows fresh instead of what is there. Where only figures have changed, buttons stay as they are, under whatever finger.
function merge(fresh) {
  const now = byId('jobs'), before = [...now.querySelectorAll('li')], after = [...fresh.querySelectorAll('li')];
  const same = before.length === after.length && after.every((li, i) => li.id === before[i].id && li.dataset.state === before[i].dataset.state);
  if (same) {
    after.forEach((li, i) => {
      const from = before[i].querySelector('[data-figures]'), to = li.querySelector('[data-figures]');
      if (from.innerHTML !== to.innerHTML) from.replaceWith(to);
    });
    return;
  }
  const held = now.contains(document.activeElement) ? document.activeElement : null, of = held?.closest('li')?.id, what = held?.textContent;
  now.replaceWith(fresh);
  if (!held) return;
  const again = of && byId(of) && [...byId(of).querySelectorAll('button')].find(b => b.textContent === what);
  (again || fresh).focus({ preventScroll: true });
}

async function renew() {
  if (document.hidden || !live.checked || document.querySelector('[aria-busy=true]')) return;
  try {
    const got = await fetch('/jobs', { signal: AbortSignal.timeout(every * 4) });
    if (got.redirected) { // signed out meanwhile
      location.assign('/jobs');
      return;
    }
    if (!got.ok) throw new Error(got.statusText);
    const fresh = new DOMParser().parseFromString(await got.text(), 'text/html').getElementById('jobs');
    // A press since the question was sent has an answer of its own coming.
    if (live.checked && !document.querySelector('[aria-busy=true]')) merge(document.adoptNode(fresh));
    stale.textContent = '';
  } catch {
    stale.textContent = t('js.jobs.stale');
  }
}

async function keep() {
  for (;;) {
    await new Promise(resolve => { setTimeout(resolve, every); });
    await renew();
  }
}
void keep();
document.addEventListener('visibilitychange', () => { void renew(); });
