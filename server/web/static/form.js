// Forms that ask the API: <form data-api="POST /leads/l_…/verdicts" data-then="/desk">. Fields become a JSON body, "born.from"
// inside "born"; an empty field is left out unless it has data-keep. Afterwards the page of data-then is opened, or this one
// is loaded again, so that what is shown is what is stored.
import { call } from './api.js';
import { t } from './text.js';

function value(field) {
  switch (field.dataset.type ?? field.type) {
    case 'checkbox': return field.checked;
    case 'number': case 'range': return field.value === '' ? undefined : Number(field.value);
    case 'lines': return field.value.split('\n').map(s => s.trim()).filter(Boolean);
    case 'list': return field.value.split(/[;；、]/).map(s => s.trim()).filter(Boolean);
    case 'many': return [...field.selectedOptions].map(o => o.value);
    case 'truth': return field.value === 'true';
    default: return field.value.trim() === '' && !('keep' in field.dataset) ? undefined : field.value.trim();
  }
}

// body is what a form's fields say, as the API takes it.
export function body(form, submitter) {
  const out = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.tagName === 'BUTTON' && field !== submitter || field.type === 'radio' && !field.checked) continue;
    const v = field.tagName === 'BUTTON' && field.dataset.type === undefined ? field.value : value(field);
    if (v === undefined) continue;
    const parts = field.name.split('.');
    let at = out;
    for (const p of parts.slice(0, -1)) at = at[p] ??= {};
    if ('each' in field.dataset) { if (field.checked) (at[parts.at(-1)] ??= []).push(field.value); } else at[parts.at(-1)] = v;
  }
  return out;
}

async function send(form, submitter) {
  const [method, path] = (submitter?.dataset.api ?? form.dataset.api).split(' ');
  const alert = form.querySelector('[role=alert]') ?? form.appendChild(Object.assign(document.createElement('p'), { role: 'alert', className: 'problem', hidden: true }));
  const question = submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !confirm(question)) return;
  const buttons = [...form.querySelectorAll('button')];
  alert.hidden = true;
  form.setAttribute('aria-busy', 'true');
  const content = body(form, submitter);
  for (const b of buttons) b.disabled = true; // one press is one request
  try {
    const got = await call(method, path, { body: content, signal: new AbortController().signal });
    form.dispatchEvent(new CustomEvent('stored', { detail: got, bubbles: true }));
    const then = submitter?.dataset.then ?? form.dataset.then;
    if (then === 'stay') return;
    if (then) location.assign(then.replace('{id}', got.id ?? ''));
    else location.reload();
  } catch (problem) {
    alert.textContent = problem.message || t('js.form.failed');
    alert.hidden = false;
    alert.tabIndex = -1;
    alert.focus();
  } finally {
    for (const b of buttons) b.disabled = false;
    form.removeAttribute('aria-busy');
  }
}

document.addEventListener('submit', e => {
  if (!e.target.matches('form[data-api]')) return;
  e.preventDefault();
  void send(e.target, e.submitter);
});
for (const f of document.querySelectorAll('form[data-api] button')) f.disabled = false;
