// Faces drawn over their photo, and cut out of it.
import { el } from './dom.js';
import { ageInShort, looks } from './facts.js';
import { t } from './text.js';

export const faceName = (face, i) => t('js.face.name', { Number: i + 1, Age: looks(face.age) });

// drawFaces puts a box on each face of the photo in frame, whose img shows the whole photo at any size. With pick the
// boxes are buttons. chosen is the place of the child's own face, if it is known.
export function drawFaces(frame, photo, { pick, chosen } = {}) {
  frame.querySelectorAll('.face').forEach(f => f.remove());
  // The frame has its size before the picture is there.
  frame.style.setProperty('--shape', photo.width / photo.height);
  frame.classList.add('sized');
  const several = photo.faces.length > 1;
  const percent = (part, whole) => `${Math.min(100, Math.max(0, 100 * part / whole))}%`;
  photo.faces.forEach((face, i) => {
    const { x, y, width, height } = face.box;
    // The number alone is text: it stands in the name too, by which a face is called up.
    const tag = el('span', { className: 'tag' }, several ? `${i + 1}` : looks(face.age));
    if (several && width / photo.width >= 0.15) tag.dataset.looks = ageInShort(face.age);
    const box = el(pick ? 'button' : 'span', { className: 'face', title: faceName(face, i) }, tag);
    if (pick) {
      box.type = 'button';
      box.setAttribute('aria-label', face.searchable ? faceName(face, i) : t('js.face.poor', { Face: faceName(face, i) }));
      box.addEventListener('click', () => pick(i));
    } else {
      box.setAttribute('role', 'img');
      box.setAttribute('aria-label', several && i === chosen ? t('js.face.child', { Face: faceName(face, i) }) : faceName(face, i));
    }
    box.classList.toggle('poor', !face.searchable);
    box.style.left = percent(x, photo.width);
    box.style.top = percent(y, photo.height);
    box.style.right = percent(photo.width - x - width, photo.width);
    box.style.bottom = percent(photo.height - y - height, photo.height);
    frame.append(box);
  });
  mark(frame, chosen);
}

// mark shows which of several faces is the child's.
export function mark(frame, chosen) {
  const boxes = frame.querySelectorAll('.face');
  boxes.forEach((box, i) => {
    box.classList.toggle('chosen', boxes.length > 1 && i === chosen);
    if (box.type === 'button') box.setAttribute('aria-pressed', i === chosen);
  });
}

// Cut-outs look like the server's chips of enrolled faces (engine.Chip), so that the two compare side by side: as wide
// as 1.8 times the box, eyes level.
const side = 224, times = 1.8;

// cut gives the URL of a small picture of one face, or null where the browser cannot show the photo. The caller revokes it.
export async function cut(img, photo, face) {
  const k = img.naturalWidth / photo.width;
  const canvas = el('canvas', { width: side, height: side });
  const g = canvas.getContext('2d');
  const { x, y, width, height } = face.box;
  const [left, right] = face.landmarks;
  const zoom = side / (times * k * Math.max(width, height));
  g.imageSmoothingQuality = 'high';
  g.translate(side / 2, side / 2);
  g.rotate(-Math.atan2(right[1] - left[1], right[0] - left[0]));
  g.scale(zoom, zoom);
  g.drawImage(img, -k * (x + width / 2), -k * (y + height / 2));
  const blob = await new Promise(done => canvas.toBlob(done, 'image/jpeg', 0.9));
  return blob && URL.createObjectURL(blob);
}

// shows says whether the browser sees the photo as the server does: same shape, so same orientation.
export function shows(img, photo) {
  const mine = img.naturalWidth / img.naturalHeight, theirs = photo.width / photo.height;
  return img.naturalWidth > 0 && Math.abs(mine / theirs - 1) < 0.03;
}
