// The button that reads the whole chain of the audit.
import { call } from './api.js';
import { byId } from './dom.js';
import { moment, t } from './text.js';

const form = byId('verify'), button = form.querySelector('button'), said = byId('verified'), problem = byId('tampered');

function fail(words) {
  problem.textContent = words;
  problem.hidden = false;
}

form.addEventListener('submit', async e => {
  e.preventDefault();
  button.disabled = true;
  problem.hidden = true;
  said.textContent = t('js.audit.verifying');
  try {
    const head = byId('known').value.trim();
    const found = await call('GET', `/audit/verification${head && `?head=${encodeURIComponent(head)}`}`, { signal: new AbortController().signal });
    said.textContent = '';
    if (found.intact) said.textContent = t('js.audit.intact', { Count: found.entries, When: moment(found.at), Head: found.head });
    else fail(t('js.audit.changed', { Fault: found.fault }));
  } catch (err) {
    said.textContent = '';
    fail(err.message);
  } finally {
    button.disabled = false;
  }
});
button.disabled = false;
