"""Runs another pipeline over photos, for scripts/compare-pipelines, which starts it in the pipeline's own environment.

Usage: pipelines.py NAME MODELS CORES < LIST    CORES is their numbers with commas between; a process for each

Loading and a first photo come before the clock starts. Prints a line of JSON.
"""

import contextlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

PORTRAIT = Path(__file__).resolve().parent.parent.parent / ".testdata" / "obama.jpg"


def face_recognition(models):
    """face_recognition's own example: HOG detector, 128 numbers a face."""
    import face_recognition as fr
    from PIL import UnidentifiedImageError

    def look(path):
        try:
            photo = fr.load_image_file(path)
        except (UnidentifiedImageError, OSError):
            return None
        return len(fr.face_encodings(photo, fr.face_locations(photo)))

    return look


def insightface(models):
    """InsightFace's FaceAnalysis with the detector and recogniser in a folder, at 640 pixels."""
    import cv2
    import onnxruntime
    from insightface.app import FaceAnalysis

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    app = FaceAnalysis(
        name=models,
        allowed_modules=["detection", "recognition"],
        providers=["CPUExecutionProvider"],
        sess_options=options,
    )
    app.prepare(ctx_id=-1, det_size=(640, 640))
    if set(app.models) != {"detection", "recognition"}:
        raise SystemExit(f"InsightFace found {sorted(app.models)} in {models}")

    def look(path):
        photo = cv2.imread(path)
        if photo is None:
            return None
        faces = app.get(photo)
        if any(f.embedding.shape != (512,) for f in faces):
            raise SystemExit("InsightFace found a face without describing it")
        return len(faces)

    return look


def deepface(models, recogniser):
    """DeepFace's represent, with its default detector."""
    os.environ.update(DEEPFACE_HOME=models, DEEPFACE_BACKEND_ENGINE="onnx", DEEPFACE_LOG_LEVEL="50")
    import onnxruntime

    made = onnxruntime.InferenceSession.__init__

    def with_one_thread(self, path, sess_options=None, **more):  # DeepFace has no setting for it
        options = sess_options or onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        made(self, path, sess_options=options, **more)

    onnxruntime.InferenceSession.__init__ = with_one_thread
    import cv2
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected

    def look(path):
        photo = cv2.imread(path)  # as DeepFace does, but it then stumbles over photos that cannot be read
        if photo is None:
            return None
        try:
            return len(DeepFace.represent(photo, model_name=recogniser))
        except FaceNotDetected:
            return 0

    return look


PIPELINES = {
    "face_recognition": face_recognition,
    "insightface": insightface,
    "deepface-vgg": lambda models: deepface(models, "VGG-Face"),
    "deepface-dlib": lambda models: deepface(models, "Dlib"),
}


def work(name, models, core, photos, next_photo, ready, results):
    os.sched_setaffinity(0, {core})
    look = PIPELINES[name](models)
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)
    if not look(str(PORTRAIT)):
        raise SystemExit(f"{name} finds no face in {PORTRAIT.name}")
    counts = {"unread": 0, "no_face": 0, "with_faces": 0, "faces": 0}
    ready.wait()
    while True:
        with next_photo.get_lock():
            i, next_photo.value = next_photo.value, next_photo.value + 1
        if i >= len(photos):
            break
        faces = look(photos[i])
        counts["unread" if faces is None else "with_faces" if faces else "no_face"] += 1
        counts["faces"] += faces or 0
    results.put(counts)


def main(name, models, cores):
    photos = sys.stdin.read().split("\0")
    context = multiprocessing.get_context("spawn")
    next_photo, ready, results = context.Value("l", 0), context.Barrier(len(cores) + 1), context.Queue()
    began = time.monotonic()
    processes = [
        context.Process(target=work, args=(name, models, core, photos, next_photo, ready, results)) for core in cores
    ]
    for p in processes:
        p.start()
    # A process that fails to load never comes to the barrier.
    while ready.n_waiting < len(cores):
        if any(p.exitcode is not None for p in processes):
            for p in processes:
                p.kill()
            sys.exit(f"{name} failed to start")
        time.sleep(0.01)
    start_up, began = time.monotonic() - began, time.monotonic()
    ready.wait()
    for p in processes:
        p.join()
    seconds = time.monotonic() - began
    if any(p.exitcode for p in processes):
        sys.exit(f"{name} failed")
    counts = [results.get() for _ in processes]
    total = {k: sum(c[k] for c in counts) for k in counts[0]}
    print(json.dumps({"photos": len(photos), "seconds": round(seconds, 3), "start_up": round(start_up, 3), **total}))


if __name__ == "__main__":
    # One thread a process, whatever a library would take; set before any is loaded.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    main(sys.argv[1], str(Path(sys.argv[2]).resolve()), [int(c) for c in sys.argv[3].split(",")])
