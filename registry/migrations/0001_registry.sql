-- Sealed values and settings of the registry itself.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Times are milliseconds since 1970, UTC. Dates are text at the precision known ('' is unknown) and sort as text.
-- n gives the order in which rows came; it never leaves the registry except inside a cursor.
CREATE TABLE cases (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    gallery    TEXT    NOT NULL CHECK (gallery IN ('missing', 'found')),
    status     TEXT    NOT NULL CHECK (status IN ('open', 'closed')),
    names      TEXT    NOT NULL, -- JSON
    sex        TEXT    NOT NULL CHECK (sex IN ('', 'female', 'male')),
    born_from  TEXT    NOT NULL,
    born_to    TEXT    NOT NULL,
    place      TEXT    NOT NULL,
    on_date    TEXT    NOT NULL,
    marks      TEXT    NOT NULL,
    notes      TEXT    NOT NULL,
    ref        TEXT    NOT NULL,
    key        BLOB    NOT NULL, -- the keyset that encrypts the case's photos, sealed by the operator's key
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX cases_ref ON cases (gallery, ref) WHERE ref <> '';

CREATE TABLE photos (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    case_id    TEXT    NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    file       TEXT    NOT NULL UNIQUE, -- SHA-256 of the ciphertext, in hexadecimal
    digest     BLOB    NOT NULL,        -- HMAC-SHA-256 of the plaintext
    name       TEXT    NOT NULL,
    format     TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    width      INTEGER NOT NULL,
    height     INTEGER NOT NULL,
    taken      TEXT    NOT NULL,
    taken_by   TEXT    NOT NULL CHECK (taken_by IN ('', 'exif', 'person')),
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'analysed', 'set_aside')),
    reason     TEXT    NOT NULL DEFAULT '',
    tries      INTEGER NOT NULL DEFAULT 0,
    owner      TEXT    NOT NULL DEFAULT '', -- the process that is analysing it
    model_set  TEXT    NOT NULL DEFAULT '', -- of the last analysis
    subject    TEXT    NOT NULL DEFAULT '', -- a face's id
    subject_by TEXT    NOT NULL DEFAULT '' CHECK (subject_by IN ('', 'only', 'person')),
    added_at   INTEGER NOT NULL,
    UNIQUE (case_id, digest)
) STRICT;
CREATE INDEX photos_case ON photos (case_id); -- and, as in every index, n
CREATE INDEX photos_queued ON photos (n) WHERE state = 'queued';
CREATE INDEX photos_owned ON photos (owner) WHERE owner <> '';
CREATE INDEX photos_set ON photos (model_set) WHERE state = 'analysed';

CREATE TABLE faces (
    n          INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    photo_id   TEXT    NOT NULL REFERENCES photos (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL, -- 0 is the largest face of the photo
    x          REAL    NOT NULL,
    y          REAL    NOT NULL,
    w          REAL    NOT NULL,
    h          REAL    NOT NULL,
    landmarks  BLOB    NOT NULL, -- ten float32, little endian
    score      REAL    NOT NULL,
    age_years  REAL    NOT NULL,
    age_sd     REAL    NOT NULL,
    quality    REAL    NOT NULL,
    eye_dist   REAL    NOT NULL,
    sharpness  REAL    NOT NULL,
    yaw        REAL    NOT NULL,
    pitch      REAL    NOT NULL,
    roll       REAL    NOT NULL,
    searchable INTEGER NOT NULL,
    reasons    TEXT    NOT NULL -- JSON
) STRICT;
CREATE INDEX faces_photo ON faces (photo_id, position);

-- Biometrics: float32, little endian, sealed.
CREATE TABLE templates (
    face_id   TEXT NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
    model_set TEXT NOT NULL,
    sealed    BLOB NOT NULL,
    UNIQUE (face_id, model_set)
) STRICT;
CREATE TABLE embeddings (
    face_id    TEXT NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
    recogniser TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    UNIQUE (face_id, recogniser)
) STRICT;

-- The last change of every case, deleted ones included, for whoever follows the registry.
CREATE TABLE case_changes (
    case_id TEXT    PRIMARY KEY,
    seq     INTEGER NOT NULL UNIQUE,
    deleted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE, -- SHA-256 of the secret, which has 130 random bits
    created_at INTEGER NOT NULL,
    last_used  INTEGER NOT NULL DEFAULT 0,
    revoked    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE sessions (
    hash       BLOB    PRIMARY KEY,
    key_id     TEXT    NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_key ON sessions (key_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE requests (
    key_id      TEXT    NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    owner       TEXT    NOT NULL, -- the process that is at it; '' once it is done
    status      INTEGER NOT NULL DEFAULT 0,
    photo_id    TEXT    NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (key_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_age ON requests (created_at);
