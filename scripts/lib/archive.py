"""Makes the photos of scripts/mixed-archive. Usage: archive.py OUT N SEED PROCESSES [DIR]"""

import io
import json
import math
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from packages import HERE, Stop, reported, say

SMALLEST, LARGEST = 100_000, 8_000_000  # bytes
FEWEST, MOST = 0.5e6, 24e6  # pixels
WORKING = 1600  # longest side, in pixels, at which a scene is put together before it is scaled
GRAIN = 32  # standard deviation of the stored noise, in levels of 256; each photo takes it down to its own
SIGMAS = (0, 0.7, 1, 1.5, 2, 3, 4.5, 6, 9, 13, 18)
COARSEST = SIGMAS[-1]  # standard deviation of the strongest noise a photo gets

# How many photos of a thousand are what.
FORMATS = {"jpeg": 915, "png": 35, "webp": 35, "heic": 15}
SCENES = {"portrait": 900, "group": 60, "nobody": 40}
COPIES = {"": 970, "duplicate": 12, "near-duplicate": 18}  # of the case's first photo
BROKEN = {"": 990, "cut short": 4, "no photo": 3, "empty": 2, "heading only": 1}
ORIENTATIONS = {1: 600, 6: 200, 8: 120, 3: 80}

# EXIF's and TIFF's numbers (CIPA DC-008).
ORIENTATION, MAKE, MODEL, EXIF, DATE_TIME_ORIGINAL = 0x0112, 0x010F, 0x0110, 0x8769, 0x9003
# How a photo is stored so that its orientation brings it upright.
STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
# Bytes that a pixel takes at most, with all the noise there is.
DENSEST = {"jpeg": 0.65, "webp": 0.35, "png": 2.2, "heic": 0.5}


@dataclass
class Plan:
    """A photo to make. All that is chance about it comes from its seed."""

    seed: str
    name: str
    format: str
    scene: str
    broken: str
    copy: str
    size: int  # bytes
    pixels: int
    orientation: int


def draw(rng, shares):
    return rng.choices(list(shares), weights=shares.values())[0]


def plans(n, seed):
    """Yields the cases, each a list of plans: one to four photos."""
    rng = random.Random(f"{seed}")
    case = 0
    while n > 0:
        case += 1
        photos = []
        for i in range(min(n, rng.randint(1, 4))):
            format, copy = draw(rng, FORMATS), draw(rng, COPIES) if i else ""
            size = math.exp(rng.uniform(math.log(SMALLEST * 1.1), math.log(LARGEST * 0.9)))
            densest = DENSEST[format]
            fewest = max(FEWEST, size / densest)
            most = min(MOST, max(fewest, size / 0.06)) if format != "png" else max(FEWEST, size / 0.8)
            if format == "heic":  # slow to write
                fewest, most = FEWEST, 4e6
            pixels = math.exp(rng.uniform(math.log(min(fewest, most)), math.log(max(fewest, most))))
            first = photos[0] if photos else None
            if copy:
                format, size, pixels = first.format, first.size, first.pixels * (1 if copy == "duplicate" else 0.8)
            photos.append(
                Plan(
                    seed=f"{seed}/{case}/{0 if copy else i}",
                    name=f"case-{case:06}/IMG_{rng.randint(1, 9999):04}_{i}." + {"jpeg": "jpg"}.get(format, format),
                    format=format,
                    scene=first.scene if copy else draw(rng, SCENES),
                    broken=draw(rng, BROKEN) if i and not copy else "",
                    copy=copy,
                    size=int(min(size, pixels * densest)),
                    pixels=int(pixels),
                    orientation=first.orientation if copy else draw(rng, ORIENTATIONS) if format == "jpeg" else 1,
                )
            )
        n -= len(photos)
        yield photos


class Studio:
    """What a process keeps at hand: portraits as they are asked for, and noise."""

    def __init__(self, people):
        self.people = people
        pillow_heif.register_heif_opener()
        rng = np.random.default_rng(7)
        side = int(math.sqrt(MOST) * 1.35)
        noise = np.empty((side, side), np.uint8)
        for rows in np.array_split(np.arange(side), 32):
            part = rng.standard_normal((len(rows), side), dtype=np.float32) * GRAIN + 128
            noise[rows[0] : rows[-1] + 1] = np.clip(np.rint(part), 0, 255)
        self.noise = Image.fromarray(noise)
        self.opened = {}
        self.densities = {}  # by quality, what a pixel takes at each of SIGMAS

    def portrait(self, path):
        if path not in self.opened:
            if len(self.opened) > 64:
                self.opened.clear()
            with Image.open(path) as im:
                im = ImageOps.exif_transpose(im).convert("RGB")
            im.thumbnail((WORKING, WORKING))
            self.opened[path] = im
        return self.opened[path]

    def dressed(self, rng, case_rng, path, most_w, most_h):
        """A portrait as another camera on another day would have it; case_rng decides what stays one person's."""
        im = self.portrait(path)
        stretch = case_rng.uniform(0.88, 1.14)  # another face, for what it is worth
        mirror = case_rng.random() < 0.5
        w, h = im.size
        box = [
            rng.uniform(0, 0.06) * w,
            rng.uniform(0, 0.06) * h,
            w - rng.uniform(0, 0.06) * w,
            h - rng.uniform(0, 0.06) * h,
        ]
        w, h = (box[2] - box[0]) * stretch, box[3] - box[1]
        scale = min(most_w / w, most_h / h)
        im = im.resize((max(1, int(w * scale)), max(1, int(h * scale))), Image.Resampling.BICUBIC, box)
        if mirror:
            im = ImageOps.mirror(im)
        for enhance, least, greatest in (
            (ImageEnhance.Color, 0.2, 1.3),
            (ImageEnhance.Brightness, 0.7, 1.25),
            (ImageEnhance.Contrast, 0.8, 1.2),
        ):
            im = enhance(im).enhance(rng.uniform(least, greatest))
        return im.rotate(rng.uniform(-6, 6), Image.Resampling.BILINEAR, fillcolor=im.getpixel((2, 2)))

    def scene(self, rng, case_rng, plan, w, h):
        """What the camera saw, w by h pixels, in colour."""
        person = case_rng.choice(self.people)
        room = self.portrait(rng.choice(person)).resize((24, 24)).filter(ImageFilter.GaussianBlur(4))
        room = room.resize((160, 160), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(room)
        for _ in range(rng.randint(2, 8)):  # furniture
            x, y = rng.randint(-40, 160), rng.randint(-40, 160)
            pen.rectangle(
                (x, y, x + rng.randint(3, 160), y + rng.randint(3, 80)),
                fill=tuple(rng.randint(30, 220) for _ in range(3)),
            )
        room = room.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2))).resize((w, h), Image.Resampling.BILINEAR)
        faces = {"nobody": 0, "portrait": 1, "group": rng.randint(2, 5)}[plan.scene]
        for i in range(faces):
            who = person if i == 0 else rng.choice(self.people)
            height = h * (rng.uniform(0.35, 1) if faces == 1 else rng.uniform(0.3, 0.6))
            im = self.dressed(rng, case_rng if i == 0 else rng, rng.choice(who), w / faces, height)
            left, top = rng.random() * (w / faces - im.width), rng.random() * (h - im.height)
            room.paste(im, (int(i * w / faces + left), int(top)))
        return room

    def grained(self, rng, y, sigma):
        """Luma with the noise of a sensor."""
        left, top = rng.randint(0, self.noise.width - y.width), rng.randint(0, self.noise.height - y.height)
        noise = self.noise.crop((left, top, left + y.width, top + y.height))
        noise = noise.point([max(0, min(255, round(128 + (v - 128) * sigma / GRAIN))) for v in range(256)])
        return ImageChops.add(y, noise, 1, -128)

    def make(self, plan):
        """The photo's bytes."""
        rng, case_rng = random.Random(plan.seed), random.Random(plan.seed.rpartition("/")[0])
        if plan.broken == "empty":
            return b""
        if plan.broken == "no photo":
            return b"<html><body>404 Not Found</body></html>\n" * rng.randint(3000, 9000)
        side = rng.choice((4 / 3, 3 / 2, 16 / 9, 1))
        upright = 1 / side if rng.random() < 0.5 else side
        w, h = int(math.sqrt(plan.pixels * upright)), int(math.sqrt(plan.pixels / upright))
        small = min(1, WORKING / max(w, h))
        # Luma and colour apart, as JPEG stores them: only luma gets noise, since that is what costs bytes.
        im = self.scene(rng, case_rng, plan, int(w * small), int(h * small)).convert("YCbCr")
        if plan.orientation in STORED:
            im = im.transpose(STORED[plan.orientation])
            w, h = (h, w) if plan.orientation != 3 else (w, h)
        y, cb, cr = im.resize((w, h), Image.Resampling.BILINEAR).split()
        density = plan.size / w / h
        quality = rng.choice((75, 80, 85, 88, 90, 92, 95) if density < 0.45 else (92, 95, 97))
        if plan.copy == "near-duplicate":
            quality = 72
        exif = self.exif(rng, plan)
        state = rng.getstate()
        low, high, sigma = 0.0, None, self.noise_for(plan.format, quality, density)
        for _ in range(7):
            rng.setstate(state)
            photo = self.coded(Image.merge("YCbCr", (self.grained(rng, y, sigma), cb, cr)), plan.format, quality, exif)
            ratio = len(photo) / plan.size
            if 0.7 < ratio < 1.4 or plan.copy:
                break
            # More noise is more bytes; beyond what noise can do, quality does the rest.
            if ratio < 1:
                low = sigma
                sigma = min(COARSEST, sigma * min(3, (1 / ratio) ** 0.8)) if high is None else (sigma + high) / 2
                if low == COARSEST:
                    quality = min(97, quality + 4)
            else:
                high = sigma
                sigma = (low + sigma) / 2 if sigma > 0.3 else 0
                if high == 0:
                    quality = max(40, quality - 15)
                    high = None
        if plan.broken == "cut short":
            return photo[: int(len(photo) * rng.uniform(0.3, 0.7))]
        if plan.broken == "heading only":
            return photo[:200]
        return photo

    def noise_for(self, format, quality, density):
        """About the noise at which a pixel takes so many bytes."""
        if format == "png":
            return 2 ** (8 * density / 3) / 4.13  # the entropy of noise, three channels (not quite) alike
        if quality not in self.densities:
            y = Image.linear_gradient("L")
            grey = Image.new("L", y.size, 128)
            self.densities[quality] = [
                len(
                    self.coded(
                        Image.merge("YCbCr", (self.grained(random.Random(1), y, sigma), grey, grey)),
                        "jpeg",
                        quality,
                        Image.Exif(),
                    )
                )
                / y.width
                / y.height
                for sigma in SIGMAS
            ]
        return float(np.interp(density, self.densities[quality], SIGMAS))

    def exif(self, rng, plan):
        exif = Image.Exif()
        exif[MAKE], exif[MODEL] = "Homeward", "mixed-archive"
        if plan.orientation != 1:
            exif[ORIENTATION] = plan.orientation
        if rng.random() < 0.8:
            taken = datetime(1995, 1, 1) + timedelta(minutes=rng.randrange(25 * 365 * 24 * 60))
            exif.get_ifd(EXIF)[DATE_TIME_ORIGINAL] = taken.strftime("%Y:%m:%d %H:%M:%S")
        return exif

    def coded(self, im, format, quality, exif):
        out = io.BytesIO()
        if format == "jpeg":
            im.save(out, "JPEG", quality=quality, subsampling=2, exif=exif)
        elif format == "png":
            im.convert("RGB").save(out, "PNG", compress_level=2)
        elif format == "webp":
            try:
                im.convert("RGB").save(out, "WEBP", quality=quality, method=1, exif=exif)
            except ValueError:  # so much noise that its first partition overflows
                return self.coded(im, format, quality - 15, exif)
        else:
            pillow_heif.from_pillow(im.convert("RGB")).save(out, quality=quality, exif=exif.tobytes())
        return out.getvalue()


def start(people):
    global studio
    os.nice(5)
    studio = Studio(people)


def make_case(given):
    """Writes a case's folder, and says how many bytes."""
    out, case = given
    total, first = 0, b""
    for plan in case:
        photo = first if plan.copy == "duplicate" else studio.make(plan)
        first = first or photo
        path = out / plan.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo)
        total += len(photo)
    return len(case), total


def main(out, n, seed, processes, source=""):
    if source:
        people = {}
        for path in sorted(Path(source).rglob("*")):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
                people.setdefault(path.parent, []).append(path)
        people = list(people.values())
        if not people:
            raise Stop(f"{source} holds no photos")
    else:
        portraits = HERE.parent.parent / ".testdata"
        people = [
            [portraits / name for name in names]
            for names in (("obama.jpg", "obama2.jpg", "obama3.jpg"), ("biden.jpg",), ("astronaut.png",))
        ]
    cases = list(plans(n, seed))
    photos = [p for case in cases for p in case]
    size = sum(p.size for p in photos)
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    say(f"{n} photos in {len(cases)} cases, about {size / 1e9:.1f} GB, to {out} ({free / 1e9:.0f} GB free)")
    if free < size * 1.2:
        raise Stop(f"{out} has too little room")
    began, done, written, said = time.monotonic(), 0, 0, time.monotonic()
    with multiprocessing.Pool(processes, start, (people,)) as pool:
        for count, size in pool.imap_unordered(make_case, ((out, case) for case in cases), chunksize=4):
            done, written = done + count, written + size
            if (now := time.monotonic()) - said > 15:
                left = (now - began) / done * (n - done)
                say(f"{done} of {n} photos, {written / 1e9:.1f} GB, {left / 60:.0f} min left")
                said = now
    # A hidden file: imports pass it over.
    kinds = {
        kind: Counter(getattr(p, kind) or "no" for p in photos)
        for kind in ("format", "scene", "copy", "broken", "orientation")
    }
    (out / ".mixed-archive.json").write_text(
        json.dumps({"photos": n, "cases": len(cases), "bytes": written, "seed": seed, **kinds}, indent=1) + "\n"
    )
    say(f"{n} photos, {written / 1e9:.2f} GB, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    with reported("mixed-archive"):
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
