// The desk by keyboard. Everything in it is a link, so that it works without this too.
import { byId } from './dom.js';

const links = [...document.querySelectorAll('#leads h2 a')];

function move(by) {
  if (links.length === 0) return;
  const at = links.indexOf(document.activeElement);
  const to = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + by, 0), links.length - 1)];
  to.focus();
  to.scrollIntoView({ block: 'nearest' });
}

document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.altKey || e.metaKey || e.target.closest('input, select, textarea')) return;
  switch (e.key) {
    case 'j': case 'ArrowDown': move(1); break;
    case 'k': case 'ArrowUp': move(-1); break;
    case '?': byId('keys').open = !byId('keys').open; byId('keys').scrollIntoView({ block: 'nearest' }); break;
    default: return;
  }
  e.preventDefault();
});
