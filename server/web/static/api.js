// The API as the pages speak it. The session cookie says who asks.
import { t } from './text.js';

const prefix = '/api/v1';

// How long nothing at all may happen before the connection counts as broken, in milliseconds. Searching may wait behind
// other people's photos, so an answer gets longer than a stretch of upload.
const stalled = 45_000, unanswered = 180_000;

// Problem is why something did not work, in words for a person. again: trying the same once more may help.
export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
    this.again = status === 0 || status >= 500 || status === 429 || code === 'broken_off' || code === 'search_ended';
  }
}

function broken() {
  return new Problem(0, 'connection', t(navigator.onLine ? 'js.problem.connection' : 'js.problem.offline'));
}

// answer reads the body of an answer, or throws the problem that it tells.
function answer(status, text) {
  let body = null;
  try { body = JSON.parse(text); } catch { /* a proxy's page, or an answer cut short: dealt with below */ }
  if (status === 204) return {}; // done, and nothing to tell
  if (status >= 200 && status < 300 && body !== null) return body;
  if (status === 401) {
    location.assign('/signin');
    throw new Problem(401, 'no_key', t('js.problem.signed_out'));
  }
  if (body?.detail === undefined) throw status >= 400 && status < 500
    ? new Problem(status, 'refused', t('js.problem.refused')) : broken();
  throw new Problem(status, (body.type ?? '').split(':').pop(), body.detail);
}

// call asks the API. Aborting signal rejects with its reason, even where the answer has just come.
export async function call(method, path, { body, signal }) {
  signal.throwIfAborted();
  const request = new AbortController(), stop = () => request.abort();
  const timer = setTimeout(stop, unanswered);
  signal.addEventListener('abort', stop, { once: true });
  let status, text;
  try {
    const got = await fetch(prefix + path, {
      method,
      headers: body ? { 'Content-Type': 'application/json' } : {},
      body: body && JSON.stringify(body),
      signal: request.signal,
    });
    status = got.status;
    text = await got.text();
  } catch {
    signal.throwIfAborted();
    throw broken();
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
  signal.throwIfAborted();
  return answer(status, text);
}

// send posts a photo as it is, and tells how much of it has been sent (0 to 1). fetch cannot tell that.
export function send(path, file, { signal, sent, headers = {} }) {
  return new Promise((resolve, reject) => {
    const x = new XMLHttpRequest();
    let timer;
    const alive = ms => { clearTimeout(timer); timer = setTimeout(() => { x.abort(); reject(broken()); }, ms); };
    const stop = () => { x.abort(); reject(signal.reason); };
    signal.addEventListener('abort', stop, { once: true });
    x.open('POST', prefix + path);
    // Devices name some photos wrongly or not at all; the server looks at the photo itself.
    x.setRequestHeader('Content-Type', file.type.startsWith('image/') ? file.type : 'application/octet-stream');
    for (const [name, value] of Object.entries(headers)) x.setRequestHeader(name, value);
    x.upload.onprogress = e => { alive(stalled); if (e.lengthComputable) sent(e.loaded / e.total); };
    x.upload.onload = () => { alive(unanswered); sent(1); };
    x.onload = () => { try { resolve(answer(x.status, x.responseText)); } catch (err) { reject(err); } };
    x.onerror = () => reject(broken());
    x.onloadend = () => { clearTimeout(timer); signal.removeEventListener('abort', stop); };
    alive(stalled);
    x.send(file);
  });
}
