// What is told once: the address of an invitation, the secret of a key. And the form of a region, whose code is in its path.
import './form.js';
import { byId } from './dom.js';
import { t } from './text.js';

const text = byId('made-text');

document.addEventListener('stored', e => {
  const { invitation, secret, id } = e.detail;
  if (!invitation && !secret) return;
  text.value = invitation ? new URL(invitation, location.origin).href : secret;
  byId('made-label').textContent = t(invitation ? 'js.accounts.invitation' : 'js.accounts.secret');
  byId('made-why').textContent = t(invitation ? 'js.accounts.invitation.why' : 'js.accounts.secret.why');
  byId('made-copied').textContent = '';
  byId('made-on').href = invitation ? `/accounts/${encodeURIComponent(id)}` : location.pathname;
  byId('made').hidden = false;
  byId('made').focus();
  e.target.reset();
});

byId('made-copy').addEventListener('click', async () => {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value);
    byId('made-copied').textContent = t('js.accounts.copied');
  } catch { // a browser that lets no page copy: it is selected now
    byId('made-copied').textContent = t('js.accounts.copy_it');
  }
});

const region = byId('region');
region?.addEventListener('input', () => { region.dataset.api = `PUT /regions/${encodeURIComponent(byId('code').value.trim())}`; });
