// A report that is being written outlives a reload or a flat battery: it is kept on this device until it is sent. And what
// can be done with a receipt.
import { byId } from './dom.js';

const key = 'homeward-report';
// How long a draft is kept, and how long the server knows its form again, in milliseconds.
const kept = 7 * 86_400_000, known = 23 * 3_600_000;

function read() {
  try {
    const draft = JSON.parse(localStorage.getItem(key));
    return draft && Date.now() - draft.at < kept ? draft : null;
  } catch { return null; } // a browser that keeps nothing, or something else under our name
}
function write(draft) {
  try { localStorage.setItem(key, JSON.stringify(draft)); } catch { /* then it does not outlive a reload */ }
}
function forget() {
  try { localStorage.removeItem(key); } catch { /* nothing was kept */ }
}

const form = byId('report');
if (form) {
  const fields = () => [...form.elements].filter(f => f.name && f.name !== 'token');
  const said = f => f.type === 'radio' ? f.checked : f.value.trim() !== '';
  const clear = byId('clear');
  let began = Date.now();
  const show = () => { clear.hidden = byId('kept').hidden = !fields().some(said); };

  const draft = read();
  // What the server sent back with something to correct is newer than the draft.
  if (draft && !fields().some(said)) {
    for (const f of fields()) {
      if (f.type === 'radio') f.checked = draft.values[f.name] === f.value;
      else f.value = draft.values[f.name] ?? '';
    }
    // The same form makes one case only: it may have arrived although the answer did not.
    if (Date.now() - draft.began < known) {
      form.elements.token.value = draft.token;
      began = draft.began;
    }
  }
  const keep = () => {
    const values = {};
    for (const f of fields()) if (said(f)) values[f.name] = f.value;
    write({ at: Date.now(), began, token: form.elements.token.value, values });
    show();
  };
  form.addEventListener('input', keep);
  form.addEventListener('submit', () => {
    keep();
    // One press is one request; the server sees to those that come twice all the same.
    setTimeout(() => { for (const b of form.querySelectorAll('button')) b.disabled = true; });
  });
  addEventListener('pageshow', () => { for (const b of form.querySelectorAll('button')) b.disabled = false; });
  clear.addEventListener('click', () => {
    if (!confirm(clear.dataset.ask)) return;
    forget();
    location.assign('/report');
  });
  show();
}

const receipt = byId('receipt');
if (receipt) {
  if ('new' in receipt.dataset) forget(); // sent, and arrived
  const print = byId('print'), copy = byId('copy');
  print.addEventListener('click', () => window.print());
  print.hidden = false;
  copy.addEventListener('click', async () => {
    const text = [...receipt.querySelectorAll('dt')].map(d => `${d.textContent}: ${d.nextElementSibling.textContent}`).join('\n');
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = copy.dataset.done;
    } catch { // refused: marked, it can be copied by hand
      getSelection().selectAllChildren(receipt.querySelector('dl'));
    }
  });
  copy.hidden = !navigator.clipboard;
}
