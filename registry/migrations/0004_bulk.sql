-- Work that takes minutes or hours and outlives whatever ends the process that is at it.
CREATE TABLE jobs (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL CHECK (kind <> ''),
    about      TEXT    NOT NULL,            -- what it works on: of one kind there is one unfinished job about it
    args       TEXT    NOT NULL,            -- JSON
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'paused', 'parked', 'done', 'cancelled')),
    wish       TEXT    NOT NULL DEFAULT '' CHECK (wish IN ('', 'pause', 'cancel')), -- what a person asked of a running job
    here       INTEGER NOT NULL DEFAULT 0,  -- only the process that enqueued it may take it, while that lives
    owner      TEXT    NOT NULL DEFAULT '', -- the process that is at it, or that waits to be (here)
    tries      INTEGER NOT NULL DEFAULT 0,  -- begun without having come further since
    due_at     INTEGER NOT NULL,            -- not taken before
    reason     TEXT    NOT NULL DEFAULT '', -- why the last try failed
    place      TEXT    NOT NULL DEFAULT '', -- where it goes on, in the words of its kind
    progress   TEXT    NOT NULL DEFAULT '{}', -- JSON
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL DEFAULT 0,
    spent      INTEGER NOT NULL DEFAULT 0,  -- milliseconds it has run, over all tries
    updated_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX jobs_unfinished ON jobs (kind, about) WHERE state IN ('queued', 'running', 'paused', 'parked');
CREATE INDEX jobs_waiting ON jobs (due_at) WHERE state IN ('queued', 'running');

-- What became of each file of an import: its report, and how an import that goes on knows what is done.
CREATE TABLE import_files (
    job_id   TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    path     TEXT    NOT NULL, -- inside the folder or archive; of a case that the import made, its id
    line     INTEGER NOT NULL, -- of the manifest; 0 where there is none
    size     INTEGER NOT NULL, -- with mtime, tells whether the file has changed since
    mtime    INTEGER NOT NULL, -- microseconds; -2^63 where it is to be read again in any case
    result   TEXT    NOT NULL CHECK (result IN ('case', 'wanted', 'added', 'duplicate', 'unreadable', 'skipped')),
    reason   TEXT    NOT NULL, -- why it was not taken
    remark   TEXT    NOT NULL, -- what of its line in the manifest was left out
    ref      TEXT    NOT NULL, -- of the case in whose folder it lies, where there is no case
    taken    TEXT    NOT NULL, -- of a wanted photo: when it was taken, as the manifest says
    case_id  TEXT             REFERENCES cases (id) ON DELETE CASCADE, -- so that a case's file names go with it
    photo_id TEXT    NOT NULL,
    looked   INTEGER NOT NULL DEFAULT 0,  -- whether an added photo was held against those that were there before it
    twin     TEXT    NOT NULL DEFAULT '', -- the photo that it looks the same as
    PRIMARY KEY (job_id, path, line)
) STRICT, WITHOUT ROWID;
CREATE INDEX import_files_case ON import_files (case_id) WHERE case_id IS NOT NULL;

-- How a photo looks, as a perceptual hash, sealed: photos that look the same are recognised by it.
ALTER TABLE photos ADD COLUMN look BLOB NOT NULL DEFAULT x'';
CREATE INDEX photos_digest ON photos (digest);

-- Model sets with their metrics under which the registry's faces have templates. One answers; others are built beside it, or
-- kept to go back to.
CREATE TABLE generations (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE, -- "<model set's id>.<metric's id>", as templates are marked
    model_set   TEXT    NOT NULL AS (substr(id, 1, instr(id, '.') - 1)),
    name        TEXT    NOT NULL,        -- of the model set; empty in a registry from before there were generations, until it is opened
    metric      TEXT    NOT NULL,        -- its metric's name
    recognisers TEXT    NOT NULL,        -- JSON: whose embeddings it is made of
    state       TEXT    NOT NULL CHECK (state IN ('building', 'ready', 'active', 'kept', 'dropping')),
    report      TEXT    NOT NULL DEFAULT '', -- JSON: what a switch to it would change
    owner       TEXT    NOT NULL DEFAULT '', -- the process that is building it
    created_at  INTEGER NOT NULL,
    active_at   INTEGER NOT NULL DEFAULT 0   -- when it last began or ceased to answer
) STRICT;
CREATE UNIQUE INDEX generations_active ON generations (state) WHERE state = 'active';

-- Under which generations a photo is done. subject is the child's own face under it where no person has chosen: the photo's only
-- one. photos has what is so under the active one.
CREATE TABLE photo_sets (
    generation INTEGER NOT NULL REFERENCES generations (n) ON DELETE CASCADE,
    photo      INTEGER NOT NULL REFERENCES photos (n) ON DELETE CASCADE,
    state      TEXT    NOT NULL CHECK (state IN ('done', 'set_aside')),
    reason     TEXT    NOT NULL DEFAULT '',
    subject    TEXT    NOT NULL DEFAULT '', -- a face's id
    PRIMARY KEY (generation, photo)
) STRICT, WITHOUT ROWID;
CREATE INDEX photo_sets_photo ON photo_sets (photo);

-- What each generation makes of a face; a face without a template cannot be searched with.
ALTER TABLE templates ADD COLUMN age_years  REAL    NOT NULL DEFAULT 0;
ALTER TABLE templates ADD COLUMN age_sd     REAL    NOT NULL DEFAULT 0;
ALTER TABLE templates ADD COLUMN quality    REAL    NOT NULL DEFAULT 0;
ALTER TABLE templates ADD COLUMN searchable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE templates ADD COLUMN reasons    TEXT    NOT NULL DEFAULT '[]'; -- JSON

-- The model set that alone has found the face: nobody sees it unless a generation of that set is active. Empty: everyone does.
ALTER TABLE faces ADD COLUMN only_in TEXT NOT NULL DEFAULT '';
CREATE INDEX faces_only ON faces (only_in) WHERE only_in <> '';

-- A registry from before takes over what most of its photos are analysed under; the others are due again, as they were.
INSERT INTO generations (id, name, metric, recognisers, state, created_at)
    SELECT model_set, '', '', '[]', 'active', coalesce(max(added_at), 0) FROM photos WHERE state = 'analysed' AND model_set <> ''
    GROUP BY model_set ORDER BY count(*) DESC LIMIT 1;
DELETE FROM templates WHERE model_set NOT IN (SELECT id FROM generations);
UPDATE templates SET age_years = f.age_years, age_sd = f.age_sd, quality = f.quality, searchable = f.searchable, reasons = f.reasons
    FROM faces f WHERE f.id = templates.face_id;
INSERT INTO photo_sets (generation, photo, state, reason, subject)
    SELECT g.n, p.n, CASE p.state WHEN 'analysed' THEN 'done' ELSE 'set_aside' END, p.reason, CASE p.subject_by WHEN 'only' THEN p.subject ELSE '' END
    FROM generations g JOIN photos p ON p.state = 'set_aside' OR p.state = 'analysed' AND p.model_set = g.id;
DROP INDEX photos_set;
ALTER TABLE photos DROP COLUMN model_set;
