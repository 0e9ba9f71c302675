// What the public will see, as the form stands.
import { byId, el } from './dom.js';
import { date, t } from './text.js';

const form = byId('publish');

function show() {
  const most = Number(form.dataset.most);
  const boxes = [...form.querySelectorAll('[name=photos]')], chosen = boxes.filter(b => b.checked);
  for (const b of boxes) b.disabled = !b.checked && chosen.length >= most;
  const first = boxes[0];
  first.setCustomValidity(chosen.length === 0 ? t('js.publish.choose') : '');
  byId('preview-pictures').replaceChildren(...chosen.map(b => {
    const { src, alt } = b.closest('label').querySelector('img');
    return el('img', { src, alt, width: 160, height: 160 });
  }));
  const data = new FormData(form), list = byId('preview');
  list.replaceChildren();
  const row = (name, text) => text && list.append(el('dt', {}, name), el('dd', { dir: 'auto', className: 'notes' }, text));
  row(t('js.facts.sex'), data.get('sex') && t(data.get('sex') === 'female' ? 'js.facts.female' : 'js.facts.male'));
  row(t('js.publish.age'), t('js.publish.age_range', { From: data.get('age_from'), To: data.get('age_to') }));
  const on = data.get('found_on').trim();
  row(t('js.facts.found'), /^\d{4}(-\d{2})?$/.test(on) ? date(on) : on);
  row(t('js.publish.region'), data.get('region') && form.elements.region.selectedOptions[0].textContent);
  row(t('js.publish.place'), data.get('place').trim());
  row(t('js.facts.marks'), data.get('marks').trim());
}

if (form) {
  form.addEventListener('input', show);
  show();
}
