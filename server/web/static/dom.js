// Small helpers. Text goes in as text, never as markup: names and notes are written by strangers.
import { t } from './text.js';

export const byId = id => document.getElementById(id);

// el makes an element; props are its properties, aria-* and data-* its attributes; strings among children become text.
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k.includes('-') || k === 'role') e.setAttribute(k, v); else e[k] = v;
  }
  e.append(...children.filter(c => c !== null && c !== undefined && c !== ''));
  return e;
}

// Task runs one piece of work at a time and tells how it goes: new work drops the old, whose late answer nobody sees.
export class Task {
  #running = new AbortController();

  // status and problem are the elements to tell it in; busy is called with true and false.
  constructor(status, problem, busy = () => {}) {
    this.status = status;
    this.problem = problem;
    this.busy = busy;
    this.button = problem.querySelector('button');
    this.button.addEventListener('click', () => this.again());
  }

  say(text) { this.status.textContent = text; }

  fail(text, again) {
    this.say('');
    this.problem.querySelector('p').textContent = text;
    this.button.hidden = !again;
    this.again = again;
    this.problem.hidden = false;
    this.problem.scrollIntoView({ block: 'nearest' });
  }

  // run does work(signal) while saying text. A problem it throws is shown, with a
  // button that calls again(problem) where that may help.
  async run(text, work, again) {
    this.stop();
    const mine = this.#running;
    this.say(text);
    this.busy(true);
    try {
      await work(mine.signal);
    } catch (err) {
      if (mine.signal.aborted) return;
      if (err.again === undefined) { // a mistake of ours
        this.fail(t('js.problem.page'));
        throw err;
      }
      this.fail(err.message, err.again && (() => again(err)));
    } finally {
      if (this.#running === mine) this.busy(false);
    }
  }

  // stop drops the work under way, and what the last one said.
  stop() {
    this.#running.abort();
    this.#running = new AbortController();
    this.problem.hidden = true;
    this.say('');
    this.busy(false);
  }
}
