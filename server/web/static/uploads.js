// Photos sent in pieces over connections that drop (the tus protocol 1.0.0): what has come stays, and the next piece goes on
// from there.
import { Problem } from './api.js';
import { el } from './dom.js';
import { number, t } from './text.js';

const prefix = '/api/v1', piece = 512 * 1024, together = 2;
// How long nothing may happen before a connection counts as broken, while sending and while the photo is looked at, and how
// long to wait before each new try.
const stalled = 45_000, unanswered = 180_000, waits = [1, 2, 4, 8, 15];

// Dropped is a request that may be made again.
class Dropped extends Error {}

// ask makes one request. fetch cannot tell how much has been sent.
function ask(method, path, { headers = {}, body, sent = () => {}, stop } = {}) {
  return new Promise((resolve, reject) => {
    const x = new XMLHttpRequest();
    let timer;
    const drop = () => { clearTimeout(timer); reject(new Dropped()); };
    const alive = ms => { clearTimeout(timer); timer = setTimeout(() => { x.abort(); drop(); }, ms); };
    stop.addEventListener('abort', () => { x.abort(); drop(); }, { once: true });
    x.open(method, path);
    for (const [k, v] of Object.entries({ 'Tus-Resumable': '1.0.0', ...headers })) x.setRequestHeader(k, v);
    x.upload.onprogress = e => { alive(stalled); sent(e.loaded); };
    x.upload.onload = () => alive(unanswered);
    x.onload = () => { clearTimeout(timer); resolve({ status: x.status, text: x.responseText, header: name => x.getResponseHeader(name) }); };
    x.onerror = drop;
    alive(stalled);
    x.send(body ?? null);
  });
}

const base64 = text => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

// refusal is what an answer that refuses means to a person.
function refusal({ status, text }) {
  try {
    const body = JSON.parse(text);
    if (body.detail) return new Problem(status, (body.type ?? '').split(':').pop(), body.detail);
  } catch { /* not ours */ }
  return new Problem(status, 'refused', t(status === 401 ? 'js.upload.signed_out' : 'js.problem.refused'));
}

// mayPass says whether asking again later may help.
const mayPass = status => status === 0 || status === 408 || status === 429 || status >= 500 && status !== 507;

function pause(seconds) {
  return new Promise(done => {
    const go = () => { clearTimeout(timer); removeEventListener('online', go); done(); };
    const timer = setTimeout(go, seconds * 1000);
    addEventListener('online', go);
  });
}

// transfer sends one file until it has arrived, and returns the photo. tell(part, waiting) says how far it is.
async function transfer(caseID, file, tell, stop) {
  let address, offset, tries = 0;

  async function step() {
    if (!address) {
      const got = await ask('POST', `${prefix}/cases/${encodeURIComponent(caseID)}/uploads`, {
        headers: { 'Upload-Length': String(file.size), 'Upload-Metadata': `filename ${base64(file.name.slice(-120))}` }, stop,
      });
      if (got.status !== 201) throw mayPass(got.status) ? new Dropped() : refusal(got);
      address = got.header('Location');
      offset = 0;
    }
    if (offset === undefined) {
      const got = await ask('HEAD', address, { stop });
      if (got.status === 404) { address = undefined; return null; } // it is over there: begin again
      if (got.status !== 200) throw mayPass(got.status) ? new Dropped() : refusal(got);
      offset = Number(got.header('Upload-Offset'));
    }
    const from = offset;
    const got = await ask('PATCH', address, {
      headers: { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(from) },
      body: file.slice(from, from + piece), sent: n => tell((from + n) / file.size, false), stop,
    });
    switch (true) {
      case got.status === 200: return JSON.parse(got.text);
      case got.status === 204: offset = Number(got.header('Upload-Offset')); return null;
      case got.status === 404: address = undefined; throw new Dropped();
      case got.status === 409 || got.status === 423 || mayPass(got.status) || refusal(got).code === 'broken_off': throw new Dropped();
    }
    throw refusal(got);
  }

  for (;;) {
    try {
      const photo = await step();
      tries = 0;
      if (photo) return photo;
      tell((offset ?? 0) / file.size, false);
    } catch (err) {
      if (stop.aborted) {
        if (address) void fetch(address, { method: 'DELETE', headers: { 'Tus-Resumable': '1.0.0' } }).catch(() => {});
        throw err;
      }
      if (!(err instanceof Dropped)) throw err;
      offset = undefined;
      tell(undefined, true);
      await pause(waits[Math.min(tries++, waits.length - 1)]);
    }
  }
}

// Uploads sends files to a case, two at a time, and shows each as a row of list.
export class Uploads {
  #waiting = [];
  #running = 0;
  #arrived = 0;
  #all = 0;

  // most is the size of the largest file that is taken; arrived is called with each photo.
  constructor({ caseID, list, status, most, arrived }) {
    Object.assign(this, { caseID, list, status, most, arrived });
    addEventListener('beforeunload', e => { if (this.#running > 0) e.preventDefault(); });
  }

  add(files) {
    for (const file of files) this.#begin(file, this.#row(file));
  }

  #row(file) {
    const bar = el('progress', { max: 1, value: 0, 'aria-label': t('js.upload.progress', { Name: file.name }) });
    const state = el('span', { className: 'state' }, t('js.upload.queued'));
    const button = el('button', { type: 'button', className: 'quiet' }, t('js.upload.cancel'));
    const item = el('li', {}, el('span', { className: 'name', dir: 'auto' }, file.name), state, bar, button);
    this.list.append(item);
    return { item, bar, state, button };
  }

  #begin(file, row) {
    row.item.classList.remove('failed');
    row.bar.hidden = false;
    if (file.size > this.most) return this.#fail(row, t('js.search.too_large', { Megabytes: this.most >> 20 }));
    const control = new AbortController();
    const job = { file, row, control };
    row.button.textContent = t('js.upload.cancel');
    row.button.onclick = () => {
      control.abort();
      this.#waiting = this.#waiting.filter(j => j !== job);
      row.item.remove();
      this.#all--;
      this.#tell();
    };
    this.#all++;
    this.#waiting.push(job);
    this.#next();
  }

  #next() {
    this.#tell();
    while (this.#running < together && this.#waiting.length > 0) {
      this.#running++;
      void this.#run(this.#waiting.shift()).finally(() => { this.#running--; this.#next(); });
    }
  }

  async #run({ file, row, control }) {
    row.state.textContent = t('js.upload.sending');
    const tell = (part, waiting) => {
      if (part !== undefined) row.bar.value = part;
      row.state.textContent = waiting ? t('js.upload.waiting') : row.bar.value < 1
        ? t('js.upload.part', { Part: number(row.bar.value, { style: 'percent' }) }) : t('js.upload.looking');
    };
    try {
      const photo = await transfer(this.caseID, file, tell, control.signal);
      this.#arrived++;
      if (photo.duplicate) {
        row.bar.remove();
        row.state.textContent = t('js.upload.duplicate');
        row.button.textContent = t('js.upload.dismiss');
        row.button.onclick = () => row.item.remove();
      } else {
        row.item.remove();
        this.arrived(photo);
      }
    } catch (err) {
      if (control.signal.aborted) return;
      this.#all--;
      this.#fail(row, err instanceof Problem ? err.message : t('js.problem.page'), () => this.#begin(file, row));
      if (!(err instanceof Problem)) throw err;
    }
  }

  #fail(row, text, again) {
    row.item.classList.add('failed');
    row.bar.hidden = true;
    row.state.textContent = text;
    row.button.textContent = t(again ? 'js.upload.again' : 'js.upload.dismiss');
    row.button.onclick = again ?? (() => row.item.remove());
  }

  #tell() {
    const open = this.#running + this.#waiting.length;
    this.status.textContent = this.#all === 0 ? '' : open === 0 ? t('js.upload.done', { Count: this.#arrived })
      : t('js.upload.of', { Arrived: this.#arrived, Count: this.#all });
  }
}
